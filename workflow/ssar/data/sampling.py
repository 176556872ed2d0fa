"""Which frames of a video make its clips: T frames at a stride, at a random place or uniformly over the video.

A clip spans ``frames * stride`` frames, as MMAction2 counts it (the last stride is part of the span), starts at a
random frame that leaves room for the span, and in a video that is shorter than the span loops from its start or holds
its last frame (`short`).
``lookahead`` frames at the end of the video are never indexed: with temporal gradients of interval n, frame t needs
frame t + n, so the lookahead is n (LTG §3.2). Indices count from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ssar.methods.options import Window

Short = Literal["loop", "hold"]
MAIN = "main"


def train_indices(
    num_frames: int, frames: int, stride: int, rng: np.random.Generator, lookahead: int = 0, short: Short = "loop"
) -> np.ndarray:
    """One random clip: (frames,) int64 in 0 .. num_frames - 1 - lookahead.

    A video of 30 frames with 8 frames at stride 8 and lookahead 1 gives 0, 8, 16, 24, 3, 11, 19, 27.
    Raises ValueError when the lookahead leaves no frame.
    """
    usable = _usable(num_frames, lookahead)
    room = usable - frames * stride
    start = int(rng.integers(0, room + 1)) if room > 0 else 0
    return fit(start + np.arange(frames) * stride, usable, short)


def window_indices(
    num_frames: int,
    main: Window,
    others: Sequence[Window],
    rng: np.random.Generator,
    lookahead: int = 0,
    short: Short = "loop",
) -> dict[str, np.ndarray]:
    """A random main clip and the windows beside it: {name: (frames,) int64 in 0 .. num_frames - 1 - lookahead}.

    Windows with a shift and the main clip lie as one group in a video that has room for it. In a shorter one the
    shifts shrink in proportion until the clips fit, at the least to 0. A window without one has a random place of its
    own. Without windows this is `train_indices`, draw by draw. Raises ValueError when the lookahead leaves no frame.
    """
    usable = _usable(num_frames, lookahead)
    group = [main._replace(shift=0), *(window for window in others if window.shift is not None)]
    backward = any(window.either_way for window in group) and bool(rng.integers(0, 2))
    shifts = [-(w.shift or 0) if backward and w.either_way else w.shift or 0 for w in group]
    # the last start of each clip; one that is longer than the video starts with it
    ends = [max(usable - window.frames * window.stride, 0) for window in group]
    starts = _fitting(shifts, ends)
    room = min(end - start for start, end in zip(starts, ends, strict=True))
    first = int(rng.integers(0, room + 1)) if room > 0 else 0
    places = {window.name: first + start for window, start in zip(group, starts, strict=True)}
    indices = {}
    for window in (main, *others):
        if window.name in places:
            clip = fit(places[window.name] + np.arange(window.frames) * window.stride, usable, short)
        else:
            clip = train_indices(num_frames, window.frames, window.stride, rng, lookahead, short)
        indices[window.name] = clip
    return indices


def _fitting(shifts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """The starts of a group, the first at 0, whose shifts are shrunk in proportion until no start is beyond its end."""
    first = min(shifts)
    factor = min(
        [1.0, *(end / (shift - first) for shift, end in zip(shifts, ends, strict=True) if shift - first > end)]
    )
    return [int((shift - first) * factor) for shift in shifts]


def uniform_indices(
    num_frames: int, frames: int, stride: int, clips: int, lookahead: int = 0, short: Short = "loop"
) -> np.ndarray:
    """Test clips spread evenly over the video: (clips, frames) int64 in 0 .. num_frames - 1 - lookahead.

    The possible starts are cut into `clips` equal intervals and each clip starts in the middle of its interval
    (LTG §4.2, "uniformly sampled"; the offset of half an interval is that of the released code).
    Raises ValueError when the lookahead leaves no frame.
    """
    usable = _usable(num_frames, lookahead)
    interval = max(usable - frames * stride + 1, 0) / clips
    starts = ((np.arange(clips) + 0.5) * interval).astype(np.int64)
    return fit(starts[:, None] + np.arange(frames) * stride, usable, short)


def fit(indices: np.ndarray, usable: int, short: Short) -> np.ndarray:
    """Indices beyond the end brought back into the video."""
    return indices % usable if short == "loop" else np.minimum(indices, usable - 1)


def _usable(num_frames: int, lookahead: int) -> int:
    if num_frames <= lookahead:
        raise ValueError(f"a video of {num_frames} frames has none with a successor {lookahead} frames later")
    return num_frames - lookahead
