"""Two Gaussians of one variable, fitted to many small sets at once: which values belong to the higher one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssar.losses.precision import at_least_float32

FLOOR = 1e-6
"""Added to every variance, as scikit-learn does: a component on a single value keeps a width."""


def higher_component(values: Tensor, member: Tensor, iterations: int) -> Tensor:
    """GMM(d_i | {d_i}) (ACL+MTL Eq. 9): each value's posterior of the component with the higher mean. No gradient.

    Shapes: values (B, P), member (B, P) bool, result (B, P) in [0, 1]; row b is a set of its own, of the values that
    `member` names, and the result is 0 outside of it. Expectation-maximisation for a fixed number of iterations,
    which needs no word from the device; it starts from the least and the largest value of a set, its variance and
    equal shares, so the same sets give the same result. Components that coincide (one value, or equal ones) leave 1/2.
    """
    with torch.no_grad():
        x = at_least_float32(values).masked_fill(~member, 0)
        inside = member.to(x.dtype)
        count = inside.sum(dim=1, keepdim=True).clamp(min=1)
        mean = x.sum(dim=1, keepdim=True) / count
        # places outside the set hold its mean: no extreme, and finite in an empty set
        x = torch.where(member, x, mean)
        means = torch.stack([x.amin(dim=1), x.amax(dim=1)], dim=1)  # (B, 2)
        variances = ((inside * (x - mean).square()).sum(dim=1, keepdim=True) / count + FLOOR).expand(-1, 2)
        shares = torch.full_like(means, 0.5)
        x, inside = x.unsqueeze(1), inside.unsqueeze(1)  # (B, 1, P), for both components
        for _ in range(iterations):
            part = _posteriors(x, means, variances, shares) * inside
            mass = part.sum(dim=2) + 10 * torch.finfo(x.dtype).eps
            means = (part * x).sum(dim=2) / mass
            variances = (part * (x - means.unsqueeze(2)).square()).sum(dim=2) / mass + FLOOR
            shares = mass / mass.sum(dim=1, keepdim=True)
        posteriors = _posteriors(x, means, variances, shares)
        first = (means[:, 0] > means[:, 1]).unsqueeze(1)
        return torch.where(first, posteriors[:, 0], posteriors[:, 1]) * inside.squeeze(1)


def _posteriors(x: Tensor, means: Tensor, variances: Tensor, shares: Tensor) -> Tensor:
    """p(component | x): x (B, 1, P) and parameters (B, 2) to (B, 2, P)."""
    squared = (x - means.unsqueeze(2)).square() / variances.unsqueeze(2)
    constant = shares.log() - (2 * math.pi * variances).log() / 2
    return (constant.unsqueeze(2) - squared / 2).softmax(dim=1)
