"""Contrast of single clips, without labels: what ACL+MTL Table 3 compares with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.exchange import gather_with_gradient
from ssar.losses.precision import at_least_float32


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent of SimCLR (Eq. 1 there), mean over all 2B embeddings, a scalar; gradient flows to both views.

    Row i of `first` and of `second`, both (B, D) and of length one, are two views of one clip: the positive pair. The
    negatives of an embedding are all others of both views, of all shares of the step; each share computes the same
    loss.
    """
    # inside autocast the similarities would be multiplied in 16 bits
    with torch.autocast(first.device.type, enabled=False):
        first, second = (gather_with_gradient(at_least_float32(x)) for x in (first, second))
        both = torch.cat([first, second])
        similarity = both @ both.T / temperature
        itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
        partner = torch.arange(len(both), device=both.device).roll(len(first))
        return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


def queue_info_nce(anchor: Tensor, key: Tensor, queue: Tensor, filled: Tensor, temperature: float) -> Tensor:
    """InfoNCE of MoCo (Eq. 1 there), mean over the clips, a scalar; gradient flows to the anchors alone.

    Shapes: anchor and key (B, D), two views of one clip; queue (M, D) of negatives, of which `filled` (M,) bool are in
    use. All are of length one.
    """
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, key, queue = (at_least_float32(x) for x in (anchor, key.detach(), queue.detach()))
        positive = (anchor * key).sum(dim=1, keepdim=True)
        negative = (anchor @ queue.T).masked_fill(~filled, -torch.inf)
        similarity = torch.cat([positive, negative], dim=1) / temperature
        return F.cross_entropy(similarity, torch.zeros(len(anchor), dtype=torch.long, device=anchor.device))
