"""Frames of test and training videos that figures show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssar.data.reader import open_video
from ssar.reporting.figures.inputs import FigureInputs, ShownVideo


def frames(inputs: FigureInputs, video: ShownVideo, indices: Sequence[int]) -> np.ndarray:
    """Frames of a video: uint8 (len(indices), H, W, 3). Raises UserError for a video that does not decode."""
    reader = open_video(inputs.video_root / video.path)
    try:
        return reader.frames(list(indices))
    finally:
        reader.close()


def middle(inputs: FigureInputs, video: ShownVideo) -> np.ndarray:
    """The frame in the middle: uint8 (H, W, 3)."""
    found: np.ndarray = frames(inputs, video, [video.frames // 2])[0]
    return found
