"""The channels-last memory format, for tensors and modules of any number of dimensions."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T", Tensor, nn.Module)

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(value: T) -> T:
    """A tensor, or a module with its parameters (in place), with the channels innermost; others as they are.

    `nn.Module.to` takes one format for all parameters, but networks mix 2D and 3D convolutions.
    """
    if isinstance(value, nn.Module):
        for parameter in value.parameters():
            parameter.data = channels_last(parameter.data)
        return value
    return value.to(memory_format=FORMATS[value.dim()]) if value.dim() in FORMATS else value
