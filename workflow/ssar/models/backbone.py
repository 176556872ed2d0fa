"""What every network is to the methods, the evaluation and the figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssar.errors import UserError

CLASSIFIER = "fc."
"""What the parameters of every network's classifier are called; all others are the body."""


class Features(NamedTuple):
    """What one pass computes, from the feature maps to the prediction."""

    stages: list[Tensor]  # after each stage i: (B, C_i, T_i, H_i, W_i); a transformer has one, its last tokens
    pooled: Tensor  # (B, C): what the classifier reads
    logits: Tensor  # (B, K)


class Backbone(nn.Module, ABC):
    """A network from clips (B, 3, T, H, W) to logits (B, K), in three parts: stages, pooled features, classifier."""

    fc: nn.Linear
    """The classifier."""

    @property
    def width(self) -> int:
        """Channels of the pooled features."""
        return self.fc.in_features

    @abstractmethod
    def forward_all(self, x: Tensor) -> Features:
        """One pass over clips (B, 3, T, H, W) with everything that a loss may want of it."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to pooled features (B, C) before dropout and classifier."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Pooled features (B, C) to logits (B, K)."""

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to logits (B, K)."""
        return self.head(self.features(x))

    def load_pretrained(self) -> Sequence[str]:
        """Load the weights that the network's settings name, and say what was done; here there are none."""
        return ()

    def load_body(self, path: str | Path) -> None:
        """Take over all weights but the classifier's from the evaluated network of a finished run (model.pt).

        Raises UserError for a file that is missing or holds another architecture.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            found = {name: value for name, value in content["predictor"].items() if not name.startswith(CLASSIFIER)}
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such model; train the run first") from None
        except Exception as error:  # zip, pickle and torch each have their own for a foreign file
            raise UserError(f"{path} is no model of ssar ({type(error).__name__}); train the run again") from error
        own = {name: value for name, value in self.state_dict().items() if not name.startswith(CLASSIFIER)}
        odd = sorted(
            {name for name in own if name not in found or found[name].shape != own[name].shape} | (found.keys() - own)
        )
        if odd:
            raise UserError(f"{path} holds a network of another architecture; these parameters differ: {odd[:5]}")
        self.load_state_dict({**self.state_dict(), **found})
