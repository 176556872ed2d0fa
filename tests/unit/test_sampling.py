"""Which frames make a clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssar.data.sampling import train_indices, uniform_indices, window_indices
from ssar.methods.options import Window

LENGTHS = st.integers(1, 400)
FRAMES = st.integers(1, 16)
STRIDES = st.integers(1, 12)
LOOKAHEADS = st.integers(0, 7)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, FRAMES, STRIDES, LOOKAHEADS, st.integers(0, 2**32))
def test_a_training_clip_stays_in_the_video_and_keeps_its_stride(num_frames, frames, stride, lookahead, seed):
    num_frames += lookahead
    found = train_indices(num_frames, frames, stride, np.random.default_rng(seed), lookahead)
    assert found.shape == (frames,)
    assert found.min() >= 0
    assert found.max() <= num_frames - 1 - lookahead
    assert ((np.diff(found) - stride) % (num_frames - lookahead) == 0).all()
    if num_frames - lookahead >= frames * stride:
        assert (np.diff(found) == stride).all()


@settings(max_examples=200, deadline=None)
@given(LENGTHS, FRAMES, STRIDES, LOOKAHEADS, st.integers(1, 10))
def test_uniform_clips_stay_in_the_video_and_are_spread_symmetrically(num_frames, frames, stride, lookahead, clips):
    num_frames += lookahead
    found = uniform_indices(num_frames, frames, stride, clips, lookahead)
    assert found.shape == (clips, frames)
    assert found.min() >= 0
    assert found.max() <= num_frames - 1 - lookahead
    starts, last = found[:, 0], max(num_frames - lookahead - frames * stride, 0)
    assert (np.diff(starts) >= 0).all()
    assert starts[-1] <= last
    assert abs((starts + starts[::-1]) / 2 - last / 2).max() <= 1


def test_a_short_video_loops_as_in_the_released_pipeline():
    found = train_indices(30, 8, 8, np.random.default_rng(0), lookahead=1)
    assert (found + 1).tolist() == [1, 9, 17, 25, 4, 12, 20, 28]


def test_every_start_that_leaves_room_is_drawn_equally_often():
    rng = np.random.default_rng(0)
    starts = [train_indices(70, 8, 8, rng, lookahead=1)[0] for _ in range(6000)]
    counts = np.bincount(starts)
    assert len(counts) == 70 - 1 - 64 + 1
    assert abs(counts / 1000 - 1).max() < 0.15


def test_uniform_clips_start_half_an_interval_in():
    # 101 frames leave 38 starts; ten intervals of 3.8 frames
    assert uniform_indices(101, 8, 8, 10)[:, 0].tolist() == [1, 5, 9, 13, 17, 20, 24, 28, 32, 36]


@pytest.mark.parametrize("frames", [1, 7])
def test_a_video_without_a_successor_frame_is_refused(frames):
    with pytest.raises(ValueError, match="7 frames later"):
        train_indices(frames, 8, 8, np.random.default_rng(0), lookahead=7)
    with pytest.raises(ValueError, match="7 frames later"):
        uniform_indices(frames, 8, 8, 3, lookahead=7)


# --- several clips of a video ---------------------------------------------------------------------

MAIN = Window("main", 8, 2)
SHIFTS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 6), st.integers(0, 60) | st.none(), st.booleans()), max_size=4
)


def others(drawn) -> list[Window]:
    return [Window(f"clip{i}", *values) for i, values in enumerate(drawn)]


@settings(max_examples=200, deadline=None)
@given(LENGTHS, SHIFTS, LOOKAHEADS, st.integers(0, 2**32), st.sampled_from(["loop", "hold"]))
def test_windows_stay_in_the_video_and_keep_their_shifts_where_there_is_room(num_frames, drawn, lookahead, seed, short):
    usable, windows = num_frames, others(drawn)
    found = window_indices(num_frames + lookahead, MAIN, windows, np.random.default_rng(seed), lookahead, short)
    assert list(found) == ["main", *(window.name for window in windows)]
    group = [window for window in windows if window.shift is not None]
    for window in (MAIN, *windows):
        clip = found[window.name]
        assert clip.shape == (window.frames,)
        assert 0 <= clip.min() <= clip.max() < usable
        if usable >= window.frames * window.stride:  # whatever longer clips of the group do
            assert (np.diff(clip) == window.stride).all()
    needed = sum(window.shift for window in group) + max([16, *(w.frames * w.stride for w in group)])
    if usable >= needed:
        for window in group:
            shift = found[window.name][0] - found["main"][0]
            assert abs(shift) == window.shift
            assert shift >= 0 or window.either_way


@given(LENGTHS, st.integers(0, 2**32))
def test_without_windows_the_draw_is_that_of_a_single_clip(num_frames, seed):
    alone = train_indices(num_frames, 8, 2, np.random.default_rng(seed))
    found = window_indices(num_frames, MAIN, (), np.random.default_rng(seed))
    assert found["main"].tolist() == alone.tolist()


def test_consecutive_clips_share_a_short_video_evenly():
    windows = [Window(f"clip{k}", 8, 2, shift=16 * k) for k in (1, 2, 3)]
    # 40 frames: 24 starts for shifts of 48
    found = window_indices(40, MAIN, windows, np.random.default_rng(0))
    assert [clip[0] for clip in found.values()] == [0, 8, 16, 24]
    tiny = window_indices(10, MAIN, windows, np.random.default_rng(0))
    assert len({tuple(clip) for clip in tiny.values()}) == 1


def test_a_coin_turns_shifts_around():
    window = Window("other", 8, 2, shift=30, either_way=True)
    shifts = set()
    for seed in range(20):
        found = window_indices(100, MAIN, [window], np.random.default_rng(seed))
        shifts.add(int(found["other"][0] - found["main"][0]))
    assert shifts == {-30, 30}


def test_held_clips_stay_at_the_last_frame():
    assert train_indices(10, 8, 2, np.random.default_rng(0), short="hold").tolist() == [0, 2, 4, 6, 8, 9, 9, 9]
    assert uniform_indices(10, 8, 2, 2, short="hold")[1].tolist() == [0, 2, 4, 6, 8, 9, 9, 9]
