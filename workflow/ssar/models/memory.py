"""What a method remembers of earlier clips: a bank of features with labels, and a prototype of each class.

Both are buffers, hence part of a checkpoint, and are filled with what all shares of a step saw, hence equal in all
processes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """The bank M of ACL+MTL §3.3: the last `size` features with their pseudo-labels, the oldest replaced first."""

    features: Tensor  # (size, width) float32
    label: Tensor  # (size,) int64
    filled: Tensor  # (size,) bool: places in use
    pointer: Tensor  # int64 scalar: the next place

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(size, width))
        self.register_buffer("label", torch.zeros(size, dtype=torch.long))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def add(self, features: Tensor, label: Tensor) -> None:
        """Enqueue features (N, width) with labels (N,) in order; rows with a label below 0 are left out."""
        size = len(self.filled)
        for rows, labels in zip(features.split(size), label.split(size), strict=True):
            keep = labels >= 0
            # those that stay come first, so that they take the places in turn; the rest write back what is there
            order = keep.logical_not().sort(stable=True).indices
            rows, labels, keep = rows[order].to(self.features.dtype), labels[order], keep[order]
            places = (self.pointer + torch.arange(len(rows), device=rows.device)) % size
            self.features[places] = torch.where(keep.unsqueeze(1), rows, self.features[places])
            self.label[places] = torch.where(keep, labels, self.label[places])
            self.filled[places] |= keep
            self.pointer.add_(keep.sum()).remainder_(size)


class Prototypes(nn.Module):
    """A prototype of each class, the moving average of its labelled clips' features (ACL+MTL Eq. 5)."""

    value: Tensor  # (K, width) float32, zero for a class that was not seen
    seen: Tensor  # (K,) bool

    def __init__(self, classes: int, width: int, decay: float) -> None:
        super().__init__()
        self.decay = decay  # beta
        self.register_buffer("value", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, label: Tensor) -> None:
        """X <- (1 - beta) f + beta X for the classes among labels (N,) of features (N, width); others stay.

        f is the mean of a class's clips, so that their order says nothing; the first f of a class becomes its X.
        """
        # a product with the indicators, since adding by index has no fixed order on a GPU
        indicator = F.one_hot(label, len(self.seen)).to(self.value.dtype)
        count = indicator.sum(dim=0)
        mean = indicator.T @ features.to(self.value.dtype) / count.clamp(min=1).unsqueeze(1)
        present = count > 0
        moved = torch.where(self.seen.unsqueeze(1), mean.lerp(self.value, self.decay), mean)
        self.value.copy_(torch.where(present.unsqueeze(1), moved, self.value))
        self.seen |= present
