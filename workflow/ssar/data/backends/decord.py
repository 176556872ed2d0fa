"""decord: fast random access; its wheel brings its own FFmpeg (Linux and Windows on x86-64 only)."""

from __future__ import annotations

import av
import decord
import numpy as np

from ssar.data.backends.pyav import displayed_size
from ssar.data.reader import scaled_size

# broken files are reported as errors that name them; FFmpeg's own lines would only repeat it
decord.logging.set_level(decord.logging.QUIET)


class DecordBackend:
    """A decord reader on one thread: more, or one opened before a fork, can deadlock."""

    errors = (decord.DECORDError, RuntimeError, IndexError, av.FFmpegError, StopIteration)

    def __init__(self, path: str, short_side: int | None) -> None:
        width = height = -1  # decord's word for the native size
        if short_side is not None:
            height, width = scaled_size(*displayed_size(path), short_side)
        # a share above 0 makes decord raise when it had to put an old frame in place of a broken one
        self.reader = decord.VideoReader(
            path, ctx=decord.cpu(0), width=width, height=height, num_threads=1, fault_tol=1e-9
        )

    def decode(self, indices: list[int]) -> np.ndarray:
        """See Backend."""
        return self.reader.get_batch(indices).asnumpy()  # type: ignore[no-any-return]

    def close(self) -> None:
        """See Backend."""
        del self.reader
