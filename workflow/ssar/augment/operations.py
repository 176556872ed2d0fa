"""The 15 operations of RandAugment as LTG's released code has them, on batches of uint8 clips.

Each takes clips (..., 3, H, W) and a magnitude and treats all frames alike; statistics that an operation needs
(a histogram, a mean) are those of each frame. They agree with PIL's ImageOps and ImageEnhance.

Magnitudes at M of 10 (LTG code at M = 9): shear 17.19 M/10 degrees (15.47), translate 0.2 M/10 of the side (0.18),
rotate 30 M/10 degrees (27), enhance factor 0.1 + 1.8 M/10 (1.72), cutout 0.2 M/10 of the side (0.18), posterize to
trunc(4 M/10) bits (3), solarize from 256 M/10 (230.4). The last two grow *weaker* with M, in the released code as in
the first public implementation of RandAugment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as T

CUTOUT_FILL = 128
"""Grey, as the released pipeline fills; frames that are moved leave black behind."""


def shear_x(clips: Tensor, degrees: float) -> Tensor:
    """Shear along x about the centre."""
    return _affine(clips, [degrees, 0.0])


def shear_y(clips: Tensor, degrees: float) -> Tensor:
    """Shear along y about the centre."""
    return _affine(clips, [0.0, degrees])


def _affine(clips: Tensor, shear: list[float]) -> Tensor:
    return T.affine(clips, 0.0, [0, 0], 1.0, shear, InterpolationMode.BILINEAR, fill=[0.0])


def rotate(clips: Tensor, degrees: float) -> Tensor:
    """Rotate counter-clockwise about the centre."""
    return T.rotate(clips, degrees, InterpolationMode.BILINEAR, fill=[0.0])


def translate_x(clips: Tensor, share: float) -> Tensor:
    """Move to the right by a share of the width, rounded to pixels."""
    return _move(clips, round(share * clips.shape[-1]), dim=-1)


def translate_y(clips: Tensor, share: float) -> Tensor:
    """Move down by a share of the height, rounded to pixels."""
    return _move(clips, round(share * clips.shape[-2]), dim=-2)


def _move(clips: Tensor, pixels: int, dim: int) -> Tensor:
    size = clips.shape[dim] - abs(pixels)
    moved = torch.zeros_like(clips)
    moved.narrow(dim, max(pixels, 0), size).copy_(clips.narrow(dim, max(-pixels, 0), size))
    return moved


def posterize(clips: Tensor, bits: float) -> Tensor:
    """Keep the highest `bits` bits, at least 1."""
    return T.posterize(clips, max(1, int(bits)))


def solarize(clips: Tensor, threshold: float) -> Tensor:
    """Invert the values from `threshold` on; 256 inverts none."""
    return torch.where(clips >= threshold, 255 - clips, clips)


def color(clips: Tensor, factor: float) -> Tensor:
    """Blend with the grey frame: 0 is grey, 1 the frame itself."""
    return T.adjust_saturation(clips, factor)


def contrast(clips: Tensor, factor: float) -> Tensor:
    """Blend with the mean grey of each frame."""
    return T.adjust_contrast(clips, factor)


def brightness(clips: Tensor, factor: float) -> Tensor:
    """Blend with black."""
    return T.adjust_brightness(clips, factor)


def sharpness(clips: Tensor, factor: float) -> Tensor:
    """Blend with the smoothed frame."""
    return T.adjust_sharpness(clips, factor)


def autocontrast(clips: Tensor, _: float) -> Tensor:
    """Stretch each channel of each frame to 0..255."""
    return T.autocontrast(clips)


def equalize(clips: Tensor, _: float) -> Tensor:
    """Flatten the histogram of each channel of each frame."""
    return T.equalize(clips)


def invert(clips: Tensor, _: float) -> Tensor:
    """255 - x."""
    return 255 - clips


def cutout(clips: Tensor, share: float, centres: Tensor) -> Tensor:
    """Fill a square of side `share * min(H, W)` with grey: clips (B, T, 3, H, W), centres (B, 2) in 0..1 as (y, x).

    A square near the border is cut off by it.
    """
    height, width = clips.shape[-2:]
    half = share * min(height, width) / 2
    y = torch.arange(height, device=clips.device) + 0.5
    x = torch.arange(width, device=clips.device) + 0.5
    rows = (y - centres[:, :1] * height).abs() <= half  # (B, H)
    columns = (x - centres[:, 1:] * width).abs() <= half  # (B, W)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None, None]
    return clips.masked_fill(inside, CUTOUT_FILL)


class Operation(NamedTuple):
    """An entry of the pool: what it does, its magnitude at M of 10, and whether the magnitude has a random sign."""

    apply: Callable[[Tensor, float], Tensor]
    magnitude: Callable[[float], float]  # of M / 10
    signed: bool = False


def _enhance(level: float) -> float:
    return 0.1 + 1.8 * level


def _none(level: float) -> float:
    return 0.0


POOL: dict[str, Operation] = {
    "shear_x": Operation(shear_x, lambda level: 17.19 * level, signed=True),
    "shear_y": Operation(shear_y, lambda level: 17.19 * level, signed=True),
    "translate_x": Operation(translate_x, lambda level: 0.2 * level, signed=True),
    "translate_y": Operation(translate_y, lambda level: 0.2 * level, signed=True),
    "rotate": Operation(rotate, lambda level: 30 * level, signed=True),
    "posterize": Operation(posterize, lambda level: 4 * level),
    "solarize": Operation(solarize, lambda level: 256 * level),
    "color": Operation(color, _enhance),
    "contrast": Operation(contrast, _enhance),
    "brightness": Operation(brightness, _enhance),
    "sharpness": Operation(sharpness, _enhance),
    "autocontrast": Operation(autocontrast, _none),
    "equalize": Operation(equalize, _none),
    "invert": Operation(invert, _none),
}

CUTOUT = "cutout"
"""The fifteenth operation: it alone has a place in the frame, drawn for every clip."""

NAMES = (*POOL, CUTOUT)
"""The whole pool, in the order in which the chosen operations are applied (as imgaug's SomeOf does)."""


def cutout_share(level: float) -> float:
    """Side of the cutout of the pool at M / 10, as a share of the frame's."""
    return 0.2 * level
