"""Cross-scale temporal calibration (ACL+MTL §3.4): what of a long clip has to do with the short one."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.precision import at_least_float32

Reading = Literal["position", "pooled", "pairs"]


def attention(query: Tensor, key: Tensor, reading: Reading) -> Tensor:
    """A_n (Eq. 13): cosines over the channels of two maps (B, C, T, H, W).

    ========  ===========================================================  ===============
    reading   cosine of                                                    shape
    ========  ===========================================================  ===============
    position  query and key at the same (t, h, w)                          (B, T, H, W)
    pooled    the query's mean over its positions and the key at (t, h, w)  (B, T, H, W)
    pairs     every query position and every key position                  (B, THW, THW)
    ========  ===========================================================  ===============
    """
    # inside autocast the products would be in 16 bits
    with torch.autocast(key.device.type, enabled=False):
        query, key = at_least_float32(query), at_least_float32(key)
        if reading == "pairs":
            return F.normalize(query.flatten(2), dim=1).transpose(1, 2) @ F.normalize(key.flatten(2), dim=1)
        if reading == "pooled":
            query = query.mean(dim=(2, 3, 4), keepdim=True)
        return (F.normalize(query, dim=1) * F.normalize(key, dim=1)).sum(dim=1)


def calibrated(query: Tensor, key: Tensor, reading: Reading) -> Tensor:
    """f^k* = A_n f^k (Eq. 14): maps (B, C, T, H, W) of the short and of a long clip to the long one's, calibrated.

    `position` and `pooled` weigh every position of the key. `pairs` is the product of matrices: at each query position
    the key's positions, weighted by their cosines with it; divided by their number, so that the readings are of one
    size. Cosines below 0 stay, as printed.
    """
    weights = attention(query, key, reading)
    with torch.autocast(key.device.type, enabled=False):
        key = at_least_float32(key)
        if reading == "pairs":
            mixed = key.flatten(2) @ weights.transpose(1, 2) / weights.shape[2]
            return mixed.reshape(key.shape)
        return weights.unsqueeze(1) * key
