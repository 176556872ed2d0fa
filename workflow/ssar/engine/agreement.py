"""Whether the processes of a training are still of one mind: what is equal by construction is compared now and then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TOLERANCE = 1e-3
"""Relative difference that devices of several kinds may come to by rounding."""


def agree(fabric: Fabric, values: Mapping[str, Tensor], doing: str) -> None:
    """Compare the sums of named tensors, of which all processes have the same names, between them. Collective.

    Raises RuntimeError that names the first one that differs, and what the processes were `doing`. A method whose
    state depends on the process would otherwise train something else on each device, and nobody would see.
    """
    if fabric.world_size == 1 or not values:
        return
    vector = torch.stack([value.detach().double().abs().sum() for value in values.values()])
    every = cast(Tensor, fabric.all_gather(vector.to(fabric.device)))
    spread = every.amax(dim=0) - every.amin(dim=0)
    wrong = (~(spread <= TOLERANCE * every.amax(dim=0))).nonzero().flatten().tolist()
    if wrong:
        name = list(values)[wrong[0]]
        raise RuntimeError(
            f"{doing}: the processes disagree on {name} (sums {every[:, wrong[0]].tolist()}); what a method keeps must "
            "come from all shares of a step (ssar.exchange.gathered)"
        )
