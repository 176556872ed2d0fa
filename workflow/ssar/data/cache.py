"""Whole decoded videos kept in memory, for datasets that are small enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ssar.data.reader import Reader


class FrameCache:
    """Frames or gradients of whole videos, up to a number of bytes; what comes later is read each time.

    Each process fills its own: a copy sent to another process arrives empty.
    """

    def __init__(self, bytes_: int) -> None:
        self.bytes, self.used = bytes_, 0
        self.frame = 0  # bytes of the frame that was read last
        self.videos: dict[tuple[str, str], np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "used": 0, "frame": 0, "videos": {}}

    def frames(
        self, key: tuple[str, str], indices: np.ndarray, length: int, read: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """The frames at `indices` of a video of `length` frames: uint8 (len(indices), H, W, 3).

        `read` gives the frames at any indices. Of a video that fits it is asked for one, to know its size, and for all.
        """
        if key in self.videos:
            return self.videos[key][indices]
        # most videos' frames are alike, so this asks a full cache nothing
        if self._fits(self.frame * length):
            self.frame = read(indices[:1]).nbytes
            if self._fits(self.frame * length):
                whole = self.videos[key] = read(np.arange(length))
                self.used += whole.nbytes
                return whole[indices]
        asked = read(indices)
        self.frame = asked[0].nbytes
        return asked

    def _fits(self, size: int) -> bool:
        return self.used + size <= self.bytes


class CachedReader:
    """A Reader that opens its file only for frames that are not in the cache."""

    def __init__(self, cache: FrameCache, video: str, length: int, read: Callable[[], Reader]) -> None:
        self.cache, self.video, self.length, self.read = cache, video, length, read
        self.opened: Reader | None = None

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """See Reader."""
        return self.cache.frames((self.video, "rgb"), np.asarray(indices), self.length, self._decode)

    def _decode(self, indices: np.ndarray) -> np.ndarray:
        self.opened = self.opened or self.read()
        return self.opened.frames(indices.tolist())

    def close(self) -> None:
        """See Reader."""
        if self.opened is not None:
            self.opened.close()
