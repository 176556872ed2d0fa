"""A method's loss as a module's forward, so that the hooks of data parallel training see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssar.engine.randomness import random_state, reseed, set_random_state
from ssar.exchange import Turns
from ssar.methods.base import Batch, Method


@dataclass(frozen=True)
class Share:
    """One share of a step (see ssar.exchange): its clips, and the seed of what its loss draws."""

    batch: Batch
    seed: int


class Sealed:
    """Carries shares through Fabric and DDP, which would copy what they can look into and refuse frozen classes.

    `first`: how many shares of the step this process has computed before.
    """

    def __init__(self, shares: Sequence[Share], first: int = 0) -> None:
        self.shares, self.first = shares, first


class Outcome(NamedTuple):
    """What a share's loss says."""

    terms: dict[str, Tensor]  # unweighted, each a scalar
    stats: dict[str, Tensor]
    predictions: dict[str, Tensor]


class Objective(nn.Module):
    """The terms of a method's objective. `exchanging`: how many shares its loss looks at, 1 where at its own alone."""

    def __init__(self, method: Method, exchanging: int = 1) -> None:
        super().__init__()
        self.method, self.exchanging = method, exchanging

    def forward(self, sealed: Sealed) -> list[Outcome]:
        """What the loss says of each share; they are computed side by side."""

        def outcome(share: Share) -> Outcome:
            reseed(share.batch.device, share.seed)
            terms = self.method.loss(share.batch)
            return Outcome(terms, dict(self.method.stats), dict(self.method.predictions))

        shares = sealed.shares
        tasks = [lambda share=share: outcome(share) for share in shares]
        device = shares[0].batch.device
        return Turns(tasks, ShareState(device, self.method), self.exchanging, sealed.first).run()


class ShareState:
    """What is global while a loss runs, and must not leak into another share: torch's modes, the random state, and
    what the method says beside its terms."""

    def __init__(self, device: torch.device, method: Method | None = None) -> None:
        self.device, self.method = device, method

    def leave(self) -> Any:
        """See `ssar.exchange.Kept`."""
        casting = {kind: torch.is_autocast_enabled(kind) for kind in {"cpu", self.device.type}}
        said = None if self.method is None else (self.method.stats, self.method.predictions)
        return torch.is_grad_enabled(), casting, random_state(self.device), said

    def enter(self, kept: Any) -> None:
        """See `ssar.exchange.Kept`."""
        gradient, casting, randomness, said = kept
        torch.set_grad_enabled(gradient)
        for kind, enabled in casting.items():
            torch.set_autocast_enabled(kind, enabled)
        set_random_state(self.device, randomness)
        if self.method is not None:
            self.method.stats, self.method.predictions = said


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """sum_k w_k L_k. A term without a weight, or the reverse, is a mistake in the method: KeyError."""
    if terms.keys() != weights.keys():
        raise KeyError(f"loss returns the terms {sorted(terms)}, weights knows {sorted(weights)}")
    total: Any = sum(weights[name] * term for name, term in terms.items())
    return total
