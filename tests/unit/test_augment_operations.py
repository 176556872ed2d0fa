"""Each operation of the strong view against PIL on one frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from ssar.augment.operations import CUTOUT_FILL, NAMES, POOL, cutout, cutout_share

SIDE = 48


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    """A smooth but textured clip (2, 3, 48, 48): interpolation of noise would compare nothing."""
    t, c, y, x = np.meshgrid(np.arange(2), np.arange(3), np.arange(SIDE), np.arange(SIDE), indexing="ij")
    waves = np.sin(x / (5 + c)) + np.cos(y / 7 + t) + 0.6 * np.sin((x + 2 * y) / 9)
    return torch.from_numpy((118 + 40 * waves).round().clip(0, 255).astype(np.uint8))


def pil_affine(image: Image.Image, shear_x: float = 0, shear_y: float = 0) -> Image.Image:
    """Inverse of a shear about the centre, written out by hand."""
    a, b = math.tan(math.radians(shear_x)), math.tan(math.radians(shear_y))
    centre = SIDE / 2
    # PIL wants the map from output to input pixels; here x_in = x + a (y - c), y_in = y + b (x - c)
    data = (1, a, -a * centre, b, 1, -b * centre)
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


LEVEL = 0.9
PIL = {
    "shear_x": lambda im: pil_affine(im, shear_x=15.471),
    "shear_y": lambda im: pil_affine(im, shear_y=15.471),
    "translate_x": lambda im: im.transform(im.size, Image.Transform.AFFINE, (1, 0, -9, 0, 1, 0)),
    "translate_y": lambda im: im.transform(im.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, -9)),
    "rotate": lambda im: im.rotate(27, Image.Resampling.BILINEAR),
    "posterize": lambda im: ImageOps.posterize(im, 3),
    "solarize": lambda im: ImageOps.solarize(im, 231),  # the first value from 230.4 on
    "color": lambda im: ImageEnhance.Color(im).enhance(1.72),
    "contrast": lambda im: ImageEnhance.Contrast(im).enhance(1.72),
    "brightness": lambda im: ImageEnhance.Brightness(im).enhance(1.72),
    "sharpness": lambda im: ImageEnhance.Sharpness(im).enhance(1.72),
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "invert": ImageOps.invert,
}
# PIL rounds the grey frame and its mean, and interpolates with 8-bit weights
TOLERANCE = {"rotate": 2, "shear_x": 2, "shear_y": 2, "color": 1, "contrast": 2, "brightness": 1, "sharpness": 1} | {
    "autocontrast": 1,
    "equalize": 0,
}


@pytest.mark.parametrize("name", POOL)
def test_operation_agrees_with_pil(name, clip):
    found = POOL[name].apply(clip, POOL[name].magnitude(LEVEL)).permute(0, 2, 3, 1).numpy().astype(int)
    for frame, result in zip(clip.permute(0, 2, 3, 1).numpy(), found, strict=True):
        wanted = np.asarray(PIL[name](Image.fromarray(frame))).astype(int)
        difference = abs(result - wanted)
        if name in ("shear_x", "shear_y", "rotate"):
            # the two libraries end the frame at different fractions of a pixel: compare where both have picture
            both = (result.min(axis=-1) > 0) & (wanted.min(axis=-1) > 0)
            assert both.mean() > 0.6
            difference = difference[both]
            assert (difference > TOLERANCE[name]).mean() < 0.05
        else:
            assert difference.max() <= TOLERANCE.get(name, 0)


@pytest.mark.parametrize("name", POOL)
def test_operation_changes_the_clip_and_leaves_its_input_alone(name, clip):
    bright = (clip.float() * 1.2).clamp(0, 255).to(torch.uint8)
    before = bright.clone()
    found = POOL[name].apply(bright, POOL[name].magnitude(LEVEL))
    assert torch.equal(bright, before)
    assert found.dtype == torch.uint8
    assert found.shape == clip.shape
    assert not torch.equal(found, bright)


@pytest.mark.parametrize("name", [name for name, operation in POOL.items() if operation.signed])
def test_signs_are_mirror_images(name, clip):
    axes = (-1,) if name != "translate_y" else (-2,)
    value = POOL[name].magnitude(LEVEL)
    found = POOL[name].apply(clip.flip(axes), -value)
    wanted = POOL[name].apply(clip, value).flip(axes)
    assert (found.int() - wanted.int()).abs().max() <= 1


def test_cutout_fills_a_square_of_the_right_size(clip):
    clips = clip[None].expand(2, -1, -1, -1, -1)
    found = cutout(clips, cutout_share(LEVEL), torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    inside = (found == CUTOUT_FILL).all(dim=2) & (clips != found).any(dim=2)
    assert abs(inside[0].sum(dim=(1, 2)) - (0.18 * SIDE) ** 2).max() <= 2 * 0.18 * SIDE + 1
    # a quarter of a square in the corner, and nothing else changes
    assert inside[1, :, :5, -5:].float().mean() > 0.5
    assert torch.equal(found[1, :, :, 6:, :], clips[1, :, :, 6:, :])


def test_the_pool_has_the_released_magnitudes():
    values = {name: operation.magnitude(LEVEL) for name, operation in POOL.items()}
    assert len(NAMES) == len(set(NAMES)) == 15
    assert values["rotate"] == pytest.approx(27)
    assert values["shear_x"] == values["shear_y"] == pytest.approx(15.47, abs=0.005)
    assert values["translate_x"] == values["translate_y"] == cutout_share(LEVEL) == pytest.approx(0.18)
    assert int(values["posterize"]) == 3
    assert values["solarize"] == pytest.approx(230.4)
    assert all(values[name] == pytest.approx(1.72) for name in ("color", "contrast", "brightness", "sharpness"))
    assert {name for name, operation in POOL.items() if operation.signed} == {
        *("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
    }
