"""Temporal gradients of raw frames (LTG §3.2 and supplement §A)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ssar.data.reader import Reader

Sign = Literal["x_t - x_t+n", "x_t+n - x_t"]


def temporal_gradient(frame_t: np.ndarray, frame_t_plus_n: np.ndarray, sign: Sign = "x_t - x_t+n") -> np.ndarray:
    """TG = x_t - x_{t+n} of uint8 frames of any equal shape, as uint8 ``trunc((TG + 255) / 2)``: no motion is 127.

    LTG §1 for the formula and supplement §A for the mapping to 0..255; `sign` turns the difference around.
    """
    first, second = (frame_t, frame_t_plus_n) if sign == "x_t - x_t+n" else (frame_t_plus_n, frame_t)
    # a - b + 255 = a + ~b for bytes, and (a & c) + ((a ^ c) >> 1) halves a sum of bytes without leaving uint8
    inverse = np.invert(second)
    half = np.bitwise_xor(first, inverse)
    np.right_shift(half, 1, out=half)
    np.bitwise_and(first, inverse, out=inverse)
    return np.add(half, inverse, out=half)


def read_with_gradient(
    reader: Reader, indices: Sequence[int] | np.ndarray, interval: int, sign: Sign
) -> tuple[np.ndarray, np.ndarray]:
    """Frames and their temporal gradients at `indices`, both uint8 (T, H, W, 3), in one pass over the video.

    Every frame that either needs is decoded once. Each index + interval must be a frame of the video.
    """
    current = np.asarray(indices)
    wanted, position = np.unique(np.concatenate([current, current + interval]), return_inverse=True)
    decoded = reader.frames(wanted.tolist())
    frames, later = (_take(decoded, part) for part in np.split(position, 2))
    return frames, temporal_gradient(frames, later, sign)


def _take(decoded: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``decoded[places]``, without a copy where the places are evenly spaced, as in every clip that does not loop."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    if step > 0 and (np.diff(places) == step).all():
        return decoded[places[0] : places[-1] + 1 : step]
    return decoded[places]
