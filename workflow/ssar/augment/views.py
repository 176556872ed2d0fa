"""Test-time crops: squares along the longer side of a resized clip, or around its centre at several scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def resize(clip: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with antialiasing (as PIL resizes), once: uint8 (..., H, W) to uint8 (..., height, width)."""
    if clip.shape[-2:] == (height, width):
        return clip
    if clip.device.type == "cpu":
        return F.interpolate(clip, (height, width), mode="bilinear", antialias=True)
    # other devices' kernels know no bytes
    resized = F.interpolate(clip.float(), (height, width), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def short_side_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of a frame whose short side becomes `short_side`, its aspect kept."""
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))


def crops(frames: Tensor | np.ndarray, size: int, count: int, short_side: int | None = None) -> Tensor:
    """Square crops of a clip: uint8 (T, H, W, 3) to uint8 (count, T, 3, size, size).

    The short side becomes `short_side` (none: `size`), then 1 is the centre crop, and more are spread evenly along
    the longer side from end to end: 3 are left, centre, right (or top, centre, bottom), as in LTG §4.2.
    """
    short_side = short_side or size
    clip = torch.as_tensor(frames).permute(0, 3, 1, 2)
    height, width = short_side_size(clip.shape[-2], clip.shape[-1], short_side)
    clip = resize(clip, height, width)
    places = [0.5] if count == 1 else [place / (count - 1) for place in range(count)]
    cut = []
    for place in places:
        # only the longer side has anything to choose between; the other one is cut around its centre
        down, right = (place, 0.5) if height > width else (0.5, place)
        top, left = int((height - size) * down), int((width - size) * right)
        cut.append(clip[..., top : top + size, left : left + size])
    return torch.stack(cut)


def centre(frames: Tensor | np.ndarray, size: int, short_side: int | None = None) -> Tensor:
    """The centre crop of `crops`: uint8 (T, H, W, 3) to uint8 (T, 3, size, size)."""
    return crops(frames, size, 1, short_side)[0]


def scales(frames: Tensor | np.ndarray, size: int, factors: Sequence[float]) -> Tensor:
    """Centre squares of several sizes: uint8 (T, H, W, 3) to uint8 (len(factors), T, 3, size, size).

    A square's side is the factor times the short side, at the least one pixel; it is cut before it is resized, once.
    """
    clip = torch.as_tensor(frames).permute(0, 3, 1, 2)
    height, width = clip.shape[-2:]
    cut = []
    for factor in factors:
        side = max(1, round(factor * min(height, width)))
        top, left = (height - side) // 2, (width - side) // 2
        cut.append(resize(clip[..., top : top + side, left : left + side], size, size))
    return torch.stack(cut)
