"""Augmentation of batches of uint8 clips on the training device, temporally consistent and seeded per sample.

A clip's views depend on its sample's seed alone, not on the batch that it is in, and RGB and temporal gradients of
one clip share their weak view: the same crop, the same flip (LTG §4.2).
"""

from ssar.augment.augmenter import Augmenter, Draw
from ssar.augment.batch import make_batch

__all__ = ["Augmenter", "Draw", "make_batch"]
