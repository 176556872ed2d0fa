"""Evaluation views by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ssar.augment.views import centre, scales
from ssar.errors import UserError
from ssar.views import Views


def test_the_papers_protocols():
    assert Views.parse("10x3@256", "logits") == Views(10, 3, 256, "logits")
    assert Views.parse("5x3@224", "logits").slug == "5x3-224-logits"
    assert Views.parse("10x1", "probs") == Views(10, 1, None, "probs")
    assert Views.parse("10x1", "probs").slug == "10x1-probs"


def test_timebalances_scales():
    paper = Views.parse("10x3s@224", "probs")
    assert paper == Views(10, 3, 224, "probs", "scales")
    assert paper.slug == "10x3s-224-probs"
    assert paper.scales == (1.0, 0.8, 0.7)
    released = Views.parse("10x1s", "probs")
    assert released.slug == "10x1s-probs"
    assert released.scales == (0.8,)
    assert Views.parse("10x3@224", "probs").scales is None


VIEWS = st.builds(
    Views,
    st.integers(1, 50),
    st.sampled_from([1, 3]),
    st.none() | st.integers(1, 999),
    st.sampled_from(["logits", "probs"]),
    st.sampled_from(["crops", "scales"]),
)


@given(VIEWS)
def test_both_spellings_keep_everything(views):
    assert Views.parse(views.text, views.average) == views
    assert Views.from_slug(views.slug) == views


@pytest.mark.parametrize(
    "text", ["10", "x3@256", "10x3@", "10x3@256 ", "-1x3", "0x1", "2x2@224", "1x1@0", "10xs", "10x3S", "10x2s", "10s"]
)
def test_nonsense_is_refused(text):
    with pytest.raises(UserError, match="views"):
        Views.parse(text, "logits")


def test_an_unknown_average_and_a_foreign_folder_name_are_refused():
    with pytest.raises(UserError, match="average `max`"):
        Views.parse("1x1", "max")
    with pytest.raises(UserError, match="expected CLIPSxCROPS-SIZE-AVERAGE"):
        Views.from_slug("10x3@256")
    with pytest.raises(UserError, match=r"2 scales are not known; there are 1 \(0\.8\) and 3 \(1, 0\.8, 0\.7\)"):
        Views.parse("10x2s", "probs")


@pytest.mark.parametrize(("height", "width"), [(40, 71), (71, 40), (50, 50)])
def test_scales_are_centre_squares_of_the_short_side(height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    found = scales(frames, 32, (1.0, 0.8, 0.7))
    assert (found.shape, found.dtype) == ((3, 2, 3, 32, 32), torch.uint8)
    for factor, clip in zip((1.0, 0.8, 0.7), found, strict=True):
        side = round(factor * min(height, width))
        top, left = (height - side) // 2, (width - side) // 2
        for frame, shown in zip(frames, clip, strict=True):
            square = Image.fromarray(frame[top : top + side, left : left + side])
            expected = np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(shown.permute(1, 2, 0).numpy() - expected).max() <= 2  # torch has 8-bit weights


def test_the_whole_scale_is_the_centre_crop():
    frames = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8)
    assert torch.equal(scales(frames, 32, (1.0,))[0], centre(frames, 32))
    assert scales(frames[:, :1, :1], 4, (0.1,)).shape == (1, 2, 3, 4, 4)
