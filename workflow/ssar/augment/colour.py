"""Photometric changes of RGB clips: jitter of brightness, contrast, saturation and hue, and grey."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as T

from ssar.config import Colour


class ColourDraw(NamedTuple):
    """The parameters of one clip, the same for all its frames; None leaves a property as it is."""

    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: float | None
    gray: bool


def draw(config: Colour, rng: np.random.Generator) -> ColourDraw:
    """Draw the factors, 1 - x to 1 + x each, the hue's turn, and whether the clip becomes grey."""
    jittered = rng.random() < config.jitter
    brightness, contrast, saturation = (
        _factor(x, rng, jittered) for x in (config.brightness, config.contrast, config.saturation)
    )
    hue = float(rng.uniform(-config.hue, config.hue)) if jittered and config.hue else None
    return ColourDraw(brightness, contrast, saturation, hue, bool(rng.random() < config.gray))


def _factor(strength: float, rng: np.random.Generator, jittered: bool) -> float | None:
    return float(rng.uniform(1 - strength, 1 + strength)) if jittered and strength else None


def apply(clip: Tensor, drawn: ColourDraw) -> Tensor:
    """Change a clip, uint8 (T, 3, S, S) to the same, in the order brightness, contrast, saturation, hue, grey."""
    for value, change in (
        (drawn.brightness, T.adjust_brightness),
        (drawn.contrast, T.adjust_contrast),
        (drawn.saturation, T.adjust_saturation),
        (drawn.hue, T.adjust_hue),
    ):
        if value is not None:
            clip = change(clip, value)
    return T.rgb_to_grayscale(clip, num_output_channels=3) if drawn.gray else clip
