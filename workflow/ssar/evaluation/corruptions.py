"""Corruptions of test clips (LTG Table 5)."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from ssar.augment.operations import brightness, color, contrast
from ssar.data.seeds import Purpose, generator

FACTORS = (0.5, 1.5)
"""Range of the enhancement factor, uniform: the default of imgaug's EnhanceContrast and EnhanceBrightness, whose names
LTG gives without numbers."""

ENHANCERS: dict[str, Callable[[Tensor, float], Tensor]] = {"contrast": contrast, "brightness": brightness}


def corrupt(views: Tensor, corruption: str, path: str, clips: int) -> Tensor:
    """uint8 views (crops * clips, T, 3, H, W) of a video, the crops of all clips one crop after the other.

    A factor is drawn for each clip, from the video's path alone: all frames and crops of a clip share it, and every run
    sees the same corrupted videos. `grayscale` takes the colour away.
    """
    if corruption == "grayscale":
        return color(views, 0.0)
    enhance = ENHANCERS[corruption]
    factors = generator(Purpose.CORRUPTION, zlib.crc32(path.encode())).uniform(*FACTORS, size=clips)
    return torch.stack([enhance(view, float(factors[number % clips])) for number, view in enumerate(views)])
