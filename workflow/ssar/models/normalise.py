"""Normalisation by statistics that come from elsewhere, with gradient to them: for what spans several shares.

PyTorch's fused kernels treat such statistics as constants, and written out in plain operations a half-precision input
would be kept in float32 for the backward pass. Here the input is all that is kept.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) of (N, C, ...), float32 for a half-precision input."""
    mean, variance = _Moments.apply(x)
    return mean, variance


def normalise(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """(N, C, ...) normalised by statistics (C,), to which the gradient flows, too; then scaled and shifted."""
    output: Tensor = _Normalise.apply(x, mean, variance, weight, bias, eps)
    return output


def _by_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.view(1, -1, *(1 for _ in x.shape[2:]))


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        wide = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(wide, [0, *range(2, x.dim())], correction=0)
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        of_mean, of_variance = gradients
        values = x.numel() // x.shape[1]
        slope = _by_channel(2 / values * of_variance, x)
        constant = _by_channel(of_mean / values - 2 / values * of_variance * mean, x)
        return torch.addcmul(constant, x.to(mean.dtype), slope).to(x.dtype)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        ctx.eps, ctx.affine = eps, weight is not None
        ctx.save_for_backward(x, mean, variance, weight)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, variance, weight = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else weight
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0],
            x,
            scale,
            mean,
            variance,
            None,
            None,
            False,
            ctx.eps,
            [True, True, True],
        )
        inverse = torch.rsqrt(variance + ctx.eps)
        of_mean = -scale * inverse * of_bias
        of_variance = -0.5 * scale * inverse.square() * of_weight
        if not ctx.affine:
            return of_x, of_mean, of_variance, None, None, None
        return of_x, of_mean, of_variance, of_weight, of_bias, None
