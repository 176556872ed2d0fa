"""Which frames of a video make a clip: T frames at a stride, at a random place or uniformly over the video.

A clip spans ``frames * stride`` frames, as MMAction2 counts it (the last stride is part of the span), starts at a
random frame that leaves room for the span, and loops from the start of a video that is shorter than the span.
``lookahead`` frames at the end of the video are never indexed: with temporal gradients of interval n, frame t needs
frame t + n, so the lookahead is n (LTG §3.2). Indices count from 0.
"""

from __future__ import annotations

import numpy as np


def train_indices(
    num_frames: int, frames: int, stride: int, rng: np.random.Generator, lookahead: int = 0
) -> np.ndarray:
    """One random clip: (frames,) int64 in 0 .. num_frames - 1 - lookahead.

    A video of 30 frames with 8 frames at stride 8 and lookahead 1 gives 0, 8, 16, 24, 3, 11, 19, 27.
    Raises ValueError when the lookahead leaves no frame.
    """
    usable = _usable(num_frames, lookahead)
    room = usable - frames * stride
    start = int(rng.integers(0, room + 1)) if room > 0 else 0
    return (start + np.arange(frames) * stride) % usable


def uniform_indices(num_frames: int, frames: int, stride: int, clips: int, lookahead: int = 0) -> np.ndarray:
    """Test clips spread evenly over the video: (clips, frames) int64 in 0 .. num_frames - 1 - lookahead.

    The possible starts are cut into `clips` equal intervals and each clip starts in the middle of its interval
    (LTG §4.2, "uniformly sampled"; the offset of half an interval is that of the released code).
    Raises ValueError when the lookahead leaves no frame.
    """
    usable = _usable(num_frames, lookahead)
    interval = max(usable - frames * stride + 1, 0) / clips
    starts = ((np.arange(clips) + 0.5) * interval).astype(np.int64)
    return (starts[:, None] + np.arange(frames) * stride) % usable


def _usable(num_frames: int, lookahead: int) -> int:
    if num_frames <= lookahead:
        raise ValueError(f"a video of {num_frames} frames has none with a successor {lookahead} frames later")
    return num_frames - lookahead
