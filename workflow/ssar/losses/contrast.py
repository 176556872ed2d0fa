"""Cross-modal contrastive learning (LTG §3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.exchange import gather_with_gradient
from ssar.losses.precision import at_least_float32


def info_nce(rgb: Tensor, tg: Tensor, temperature: float) -> Tensor:
    """L_clr (LTG Eq. 10), mean of both directions, a scalar; gradient flows to both modalities.

    Row i of `rgb` (B, D) and of `tg` (B, D) embed the same clip: the positive pair. A query's negatives
    are the other modality's embeddings of all other clips, of all shares of the step; embeddings are brought to
    length one here. Each share computes the same loss, on the batch of all.
    """
    # inside autocast the similarities would be multiplied in 16 bits
    with torch.autocast(rgb.device.type, enabled=False):
        rgb = gather_with_gradient(F.normalize(at_least_float32(rgb), dim=1))
        tg = gather_with_gradient(F.normalize(at_least_float32(tg), dim=1))
        similarity = rgb @ tg.T / temperature
        positive = torch.arange(len(rgb), device=rgb.device)
        to_tg, to_rgb = F.cross_entropy(similarity, positive), F.cross_entropy(similarity.T, positive)
        return (to_tg + to_rgb) / 2
