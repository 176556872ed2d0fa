"""The learning rate as a function of the fractional epoch."""

from __future__ import annotations

import math
from typing import Any

from ssar.config import OptimConfig


class Schedule:
    """Linear warm-up times one of four shapes, evaluated at every step.

    The cosine runs over the whole length of the training, warm-up included, so the warm-up ends below the peak
    (LTG's released configuration: 0.1866 of 0.2 after 30 of 180 epochs). Only ``plateau`` has a state.
    """

    def __init__(self, optim: OptimConfig, epochs: float) -> None:
        self.optim, self.epochs = optim, epochs
        self.best, self.stale, self.drops = math.inf, 0, 0

    def lr(self, epoch: float) -> float:
        """Learning rate at a fractional epoch in [0, epochs]."""
        return self.optim.lr * self._warmup(epoch) * self._shape(epoch)

    def _warmup(self, epoch: float) -> float:
        length, start = self.optim.warmup_epochs, self.optim.warmup_from
        return 1.0 if epoch >= length else start + (1.0 - start) * epoch / length

    def _shape(self, epoch: float) -> float:
        match self.optim.schedule:
            case "constant":
                return 1.0
            case "cosine":
                return 0.5 * (1.0 + math.cos(math.pi * min(1.0, epoch / self.epochs)))
            case "step":
                return self.optim.gamma ** sum(epoch >= milestone for milestone in self.optim.milestones)
            case "plateau":
                return self.optim.gamma**self.drops

    def end_epoch(self, loss: float) -> None:
        """Tell ``plateau`` the mean training loss of a finished epoch: it acts after more than `patience` without a
        new minimum. The other shapes ignore it."""
        self.stale = 0 if loss < self.best else self.stale + 1
        self.best = min(self.best, loss)
        if self.stale > self.optim.patience:
            self.drops, self.stale = self.drops + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "stale": self.stale, "drops": self.drops}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.stale, self.drops = state["best"], state["stale"], state["drops"]
