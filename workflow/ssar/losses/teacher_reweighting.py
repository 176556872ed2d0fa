"""Temporal similarity based teacher reweighting (TimeBalance §3.2, Eq. 5 to 7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.precision import at_least_float32


def temporal_similarity(z: Tensor) -> Tensor:
    """C (Eq. 5): cosine similarities of the n clips of a video, z (..., n, d) to (..., n, n) in [-1, 1]."""
    # inside autocast the similarities would be multiplied in 16 bits
    with torch.autocast(z.device.type, enabled=False):
        z = F.normalize(at_least_float32(z), dim=-1)
        return z @ z.transpose(-1, -2)


def similarity_score(invariant: Tensor, distinctive: Tensor) -> Tensor:
    """s (Eq. 6): mean of the off-diagonal elements of C_I and C_D, each (..., n, n), to (...) in [-1, 1].

    Raises ValueError for a single clip, which has nothing beside the diagonal.
    """
    n = invariant.shape[-1]
    if n < 2:
        raise ValueError("the similarity score compares at least two clips of a video")
    both = invariant + distinctive
    off_diagonal = both.sum(dim=(-1, -2)) - both.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return off_diagonal / (2 * n * (n - 1))


def reweighted(score: Tensor, invariant: Tensor, distinctive: Tensor) -> Tensor:
    """p_T = s p_I + (1 - s) p_D (Eq. 7): scores (B,), probabilities (B, K) each, to (B, K)."""
    s = score[:, None]
    return s * invariant + (1 - s) * distinctive
