"""Networks that teach: never trained by a gradient, always in evaluation mode."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from ssar.models.backbone import Backbone, Features


class Teacher(nn.Module):
    """A network without gradients. Its passes run under inference mode and return ordinary tensors."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    @classmethod
    def of(cls, student: Backbone) -> Self:
        """A teacher with a copy of the student's weights."""
        return cls(copy.deepcopy(student))

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever the method around it does."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to logits (B, K)."""
        return self.forward_all(x).logits

    def forward_all(self, x: Tensor) -> Features:
        """One pass over clips (B, 3, T, H, W) with everything that a loss may want of it."""
        with torch.inference_mode():
            found = self.network.forward_all(x)
        # autograd refuses tensors that were made in inference mode
        return Features([stage.clone() for stage in found.stages], found.pooled.clone(), found.logits.clone())

    @torch.no_grad()
    def follow(self, student: nn.Module, decay: float) -> None:
        """theta_t <- decay theta_t + (1 - decay) theta_s, batch statistics included; counters are copied."""
        average(self.network, student, decay)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the network in place."""
        self.network.compile(*args, **kwargs)


@torch.no_grad()
def average(mean: nn.Module, source: nn.Module, decay: float) -> None:
    """mean <- decay mean + (1 - decay) source for every floating-point tensor of the state; others are copied."""
    for own, new in zip(mean.state_dict().values(), source.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(new.to(own.dtype), 1 - decay)
        else:
            own.copy_(new)
