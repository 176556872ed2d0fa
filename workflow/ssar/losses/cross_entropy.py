"""The supervised term."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ssar.losses.precision import at_least_float32


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """L_l = -1/B_l sum_i y_i log f(x_i) (LTG Eq. 1), a scalar.

    Shapes: logits (B_l, K), label (B_l,) class indices.
    """
    return F.cross_entropy(at_least_float32(logits), label)
