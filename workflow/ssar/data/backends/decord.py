"""decord: fast random access; its wheel brings its own FFmpeg (Linux and Windows on x86-64 only)."""

from __future__ import annotations

import decord
import numpy as np

from ssar.data.backends.pyav import PyAVBackend
from ssar.data.backends.timetable import read_header, read_timetable
from ssar.data.reader import scaled_size

# broken files are reported as errors that name them; FFmpeg's own lines would only repeat it
decord.logging.set_level(decord.logging.QUIET)


class DecordBackend:
    """A decord reader on one thread: more, or one opened before a fork, can deadlock.

    decord numbers keyframes in the order in which they are stored. Where B-frames that are shown before a keyframe
    are stored after it, every frame that it finds by seeking is another one than asked for (measured: off by the
    number of those B-frames), so PyAV reads such videos.
    """

    errors = (decord.DECORDError, RuntimeError, StopIteration, *PyAVBackend.errors)

    def __init__(self, path: str, short_side: int | None) -> None:
        header = read_header(path)
        self.pyav: PyAVBackend | None = None
        if header.reordered and not read_timetable(path).closed:
            self.pyav = PyAVBackend(path, short_side)
            return
        width = height = -1  # decord's word for the native size
        if short_side is not None:
            height, width = scaled_size(header.height, header.width, short_side)
        # a share above 0 makes decord raise when it had to put an old frame in place of a broken one
        self.reader = decord.VideoReader(
            path, ctx=decord.cpu(0), width=width, height=height, num_threads=1, fault_tol=1e-9
        )

    def decode(self, indices: list[int]) -> np.ndarray:
        """See Backend."""
        if self.pyav:
            return self.pyav.decode(indices)
        return self.reader.get_batch(indices).asnumpy()  # type: ignore[no-any-return]

    def close(self) -> None:
        """See Backend."""
        if self.pyav:
            self.pyav.close()
        else:
            del self.reader
