"""Collecting a batch over all processes, so that a loss on pairs sees the pairs across devices."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    """All-gather whose gradient returns to the process that each part came from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        ctx.size = len(x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.size
        return gradient[start : start + ctx.size]


def gather_with_gradient(x: Tensor) -> Tensor:
    """(B, ...) of each process, the same B everywhere, to (processes * B, ...) in rank order; one process: x.

    The gradient that reaches a process is the sum of all processes' gradients for its part. A loss that
    every process computes on the gathered batch therefore has, after DDP's averaging over processes,
    the gradient of one process on the whole batch.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        gathered: Tensor = _Gather.apply(x.contiguous())
        return gathered
    return x
