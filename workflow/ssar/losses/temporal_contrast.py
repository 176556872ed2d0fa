"""Contrast between the clips of videos: temporally invariant and temporally distinctive (TimeBalance §3.1, D.2).

Each objective is a choice of pairs (`invariant_pairs`, `distinctive_pairs`, `unpooled_pairs`) under one loss
(`contrastive_loss`). Similarities are cosines: h(u, v) = exp(cos(u, v) / tau).

Scope of the two printed sums, which have no parentheses. In Eq. 1 the indicator stands before the first term alone,
so that j = i remains in the second one: the denominator holds the positive, as in SimCLR. In Eq. 3 the condition
t_2 != t_1 belongs to the sum, over both terms: the denominator holds negatives only.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.exchange import gather_with_gradient
from ssar.losses.precision import at_least_float32

Reduction = Literal["sum", "mean"]


class Pairs(NamedTuple):
    """Cosines between queries and their keys: P queries of each of V videos, each with one positive."""

    positive: Tensor  # (V, P)
    negatives: Tensor  # (V, P, N)


def invariant_pairs(z: Tensor) -> Pairs:
    """The pairs of Eq. 1: z (B, n, D) are the embeddings of n clips of each video.

    A query z_t1^i for each ordered pair of timestamps t1 != t2, P = n (n - 1). Its positive is z_t2^i; its negatives
    are z_t1^j and z_t2^j of all other videos j, of all shares of the step, N = 2 (B - 1). Each share has the
    pairs of all.
    """
    # inside autocast the similarities would be multiplied in 16 bits
    with torch.autocast(z.device.type, enabled=False):
        z = gather_with_gradient(F.normalize(at_least_float32(z), dim=2))
        videos, clips, _ = z.shape
        first, second = _others(clips, z.device).nonzero(as_tuple=True)  # t1, t2
        query, key = z[:, first], z[:, second]
        other = _others(videos, z.device)
        negatives = [
            torch.einsum("ipd,jpd->ijp", query, keys)[other].view(videos, videos - 1, len(first)).transpose(1, 2)
            for keys in (query, key)
        ]
        return Pairs((query * key).sum(dim=2), torch.cat(negatives, dim=2))


def distinctive_pairs(z: Tensor, copy: Tensor) -> Pairs:
    """The pairs of Eq. 3: z and copy (B, n, D) embed two augmentations of the same n clips of each video.

    A query z_t1 for each timestamp, P = n. Its positive is its copy; its negatives are the clips of the same video at
    other timestamps, of both augmentations, N = 2 (n - 1). In a video so short that its clips coincide these
    negatives are copies of the positive, which nothing here can know.
    """
    with torch.autocast(z.device.type, enabled=False):
        z, copy = (F.normalize(at_least_float32(x), dim=2) for x in (z, copy))
        negatives = torch.cat([_other_times(z, z), _other_times(z, copy)], dim=2)
        return Pairs((z * copy).sum(dim=2), negatives)


def unpooled_pairs(pooled: Tensor, unpooled: Tensor) -> Pairs:
    """The pairs of L_D2 (D.2, after TCLR), in both directions, one after the other: V = 2 B.

    Shapes (B, n, D). pooled: each of n short clips as a whole. unpooled: n slices of one long clip, slice t of the
    time of short clip t, which is its positive; the other n - 1 of the same video are the negatives, P = n.
    """
    with torch.autocast(pooled.device.type, enabled=False):
        pooled, unpooled = (F.normalize(at_least_float32(x), dim=2) for x in (pooled, unpooled))
        positive = (pooled * unpooled).sum(dim=2)
        negatives = torch.cat([_other_times(pooled, unpooled), _other_times(unpooled, pooled)])
        return Pairs(torch.cat([positive, positive]), negatives)


def _others(count: int, device: torch.device) -> Tensor:
    """(count, count) bool: True off the diagonal."""
    return ~torch.eye(count, dtype=torch.bool, device=device)


def _other_times(query: Tensor, key: Tensor) -> Tensor:
    """Cosines of each timestamp's query with the keys of the same video at all others: (B, n, D) to (B, n, n - 1)."""
    videos, clips, _ = query.shape
    cosine = torch.einsum("itd,iud->itu", query, key)
    return cosine[:, _others(clips, query.device)].view(videos, clips, clips - 1)


def contrastive_loss(pairs: Pairs, temperature: float, *, with_positive: bool, reduction: Reduction) -> Tensor:
    """Mean over videos of -sum_p log(h(positive) / denominator) (Eq. 1, Eq. 3), a scalar.

    The denominator sums h over the negatives, and over the positive too if `with_positive`. `reduction` of a video's
    queries: their sum, as printed, or their mean. A query without negatives (one video, in Eq. 1) costs nothing.
    """
    positive, negatives = pairs.positive / temperature, pairs.negatives / temperature
    if with_positive or negatives.shape[2] == 0:
        denominator = torch.cat([positive.unsqueeze(2), negatives], dim=2)
    else:
        denominator = negatives
    each = denominator.logsumexp(dim=2) - positive
    return (each.sum(dim=1) if reduction == "sum" else each.mean(dim=1)).mean()


def statistics(pairs: Pairs) -> dict[str, Tensor]:
    """Mean cosine of positives and of negatives, and the share of queries whose positive is the nearest key.

    The negatives' mean is NaN where there are none.
    """
    positive, negatives = pairs.positive.detach(), pairs.negatives.detach()
    nearest = (positive.unsqueeze(2) > negatives).all(dim=2)
    return {
        "positive_similarity": positive.mean(),
        "negative_similarity": negatives.mean(),
        "retrieval": nearest.float().mean(),
    }
