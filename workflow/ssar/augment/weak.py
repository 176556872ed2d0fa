"""The weak view: resize the short side, random resized crop, random flip (LTG §4.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssar.augment.views import resize, short_side_size
from ssar.config import WeakAugment

ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


class WeakDraw(NamedTuple):
    """The parameters of one clip's weak view, shared by its frames and by RGB and temporal gradients."""

    box: Box  # in native pixels
    flip: bool


def draw(height: int, width: int, config: WeakAugment, rng: np.random.Generator) -> WeakDraw:
    """Draw the crop of frames of this native size, and the flip."""
    box = _BOXES[config.crop](height, width, config, rng)
    return WeakDraw(box, bool(rng.random() < config.flip))


def _resized(height: int, width: int, config: WeakAugment, rng: np.random.Generator) -> Box:
    """A box of random area and aspect ratio of the frame with the given short side (LTG §4.2)."""
    resized = short_side_size(height, width, config.short_side)
    return _native(_random_box(*resized, config, rng), resized, (height, width))


def _jitter(height: int, width: int, config: WeakAugment, rng: np.random.Generator) -> Box:
    """A square at a random place of the frame whose short side is random, too (SlowFast, SVFormer)."""
    short = int(rng.integers(config.short_side, (config.short_side_max or config.short_side) + 1))
    resized = short_side_size(height, width, max(short, config.size))
    top, left = (int(rng.integers(0, side - config.size + 1)) for side in resized)
    return _native(Box(top, left, config.size, config.size), resized, (height, width))


def _squash(height: int, width: int, config: WeakAugment, rng: np.random.Generator) -> Box:
    """A box of the frame's own aspect ratio, which resizing then makes square (TimeBalance code)."""
    factor = rng.uniform(*config.factor)
    h, w = max(1, round(height * factor)), max(1, round(width * factor))
    return Box(int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w)


def _centre(height: int, width: int, config: WeakAugment, rng: np.random.Generator) -> Box:
    """The square around the centre of the frame with the given short side (CMPL §3.3)."""
    resized = short_side_size(height, width, max(config.short_side, config.size))
    top, left = ((side - config.size) // 2 for side in resized)
    return _native(Box(top, left, config.size, config.size), resized, (height, width))


_BOXES = {"resized": _resized, "jitter": _jitter, "squash": _squash, "centre": _centre}


def _random_box(height: int, width: int, config: WeakAugment, rng: np.random.Generator) -> Box:
    """A box of random area and aspect ratio; the largest centred square when none of ten draws fits."""
    low, high = (math.log(ratio) for ratio in config.ratio)
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(*config.area)
        ratio = math.exp(rng.uniform(low, high))
        h, w = max(1, round(math.sqrt(area / ratio))), max(1, round(math.sqrt(area * ratio)))
        if h <= height and w <= width:
            return Box(int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w)
    side = min(height, width)
    return Box((height - side) // 2, (width - side) // 2, side, side)


def _native(box: Box, resized: tuple[int, int], native: tuple[int, int]) -> Box:
    """The box of the resized frame on native pixels: one interpolation is then enough.

    Cropping there and resizing once equals resizing, cropping and resizing again, up to the box's rounding to whole
    pixels and the second interpolation's blur (LTG's code fuses them in the same way).
    """
    down, right = native[0] / resized[0], native[1] / resized[1]
    top, left = round(box.top * down), round(box.left * right)
    bottom, end = round((box.top + box.height) * down), round((box.left + box.width) * right)
    top, left = min(top, native[0] - 1), min(left, native[1] - 1)
    return Box(top, left, max(bottom - top, 1), max(end - left, 1))


def apply(clips: Sequence[Tensor], drawn: WeakDraw, size: int) -> tuple[Tensor, ...]:
    """The weak view of frames and gradients of one clip: each uint8 (T, H, W, 3) to uint8 (T, 3, size, size)."""
    top, left, height, width = drawn.box
    cropped = [clip[:, top : top + height, left : left + width] for clip in clips]
    view = resize(torch.cat(cropped).permute(0, 3, 1, 2), size, size)
    view = torch.flip(view, (-1,)) if drawn.flip else view
    return view.split([len(clip) for clip in clips])
