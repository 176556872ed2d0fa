"""Temporal gradients against the formula, and online against stored ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.videos import moving_frames, write_video

from ssar.data.reader import open_video
from ssar.data.temporal_gradient import read_with_gradient, temporal_gradient


def test_every_pair_of_bytes_follows_the_formula():
    a, b = np.meshgrid(np.arange(256), np.arange(256))
    found = temporal_gradient(a.astype(np.uint8), b.astype(np.uint8))
    assert found.dtype == np.uint8
    assert (found == np.trunc((a - b + 255) / 2)).all()
    other = temporal_gradient(a.astype(np.uint8), b.astype(np.uint8), "x_t+n - x_t")
    assert (other == np.trunc((b - a + 255) / 2)).all()


def test_no_motion_is_grey():
    frame = moving_frames(1)[0]
    assert (temporal_gradient(frame, frame) == 127).all()


def test_the_arguments_are_left_alone():
    first, second = moving_frames(2)
    copies = first.copy(), second.copy()
    temporal_gradient(first, second)
    assert (first == copies[0]).all()
    assert (second == copies[1]).all()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "video.mkv", moving_frames(20), codec="ffv1")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=9), st.sampled_from([1, 7]))
def test_reading_both_at_once_is_reading_them_one_by_one(video, indices, interval):
    reader = open_video(video)
    frames, tg = read_with_gradient(reader, indices, interval, "x_t - x_t+n")
    for place, t in enumerate(indices):
        now, later = reader.frames([t])[0], reader.frames([t + interval])[0]
        assert (frames[place] == now).all()
        assert (tg[place] == temporal_gradient(now, later)).all()
    reader.close()
