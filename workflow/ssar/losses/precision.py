"""The precision in which losses are computed."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """A half-precision tensor as float32, any other as it is.

    Under mixed precision networks return 16-bit tensors, whose sums and exponentials would lose the
    digits that decide a threshold.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
