"""A method's loss as a module's forward, so that the hooks of data parallel training see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ssar.methods.base import Batch, Method


class Sealed:
    """Carries a batch through Fabric and DDP, which would copy what they can look into and refuse frozen classes."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Objective(nn.Module):
    """The terms of a method's objective."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, sealed: Sealed) -> dict[str, Tensor]:
        """The unweighted terms, each a scalar."""
        return self.method.loss(sealed.batch)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """sum_k w_k L_k. A term without a weight, or the reverse, is a mistake in the method: KeyError."""
    if terms.keys() != weights.keys():
        raise KeyError(f"loss returns the terms {sorted(terms)}, weights knows {sorted(weights)}")
    total: Any = sum(weights[name] * term for name, term in terms.items())
    return total
