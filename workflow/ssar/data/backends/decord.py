"""decord: fast random access; its wheel brings its own FFmpeg (Linux and Windows on x86-64 only)."""

from __future__ import annotations

import decord
import numpy as np

from ssar.data.backends.timetable import Facts

# broken files are reported as errors that name them; FFmpeg's own lines would only repeat it
decord.logging.set_level(decord.logging.QUIET)


# measured over all even widths to 420: FFmpeg pads the rows of these, and decord's copy of them fails
UNFIT_WIDTHS = frozenset({16, 24, 48, 72})


class DecordBackend:
    """A decord reader on one thread: more, or one opened before a fork, can deadlock."""

    errors = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError)

    def __init__(self, path: str, size: tuple[int, int] | None) -> None:
        height, width = size or (-1, -1)  # decord's word for the native size
        # a share above 0 makes decord raise when it had to put an old frame in place of a broken one
        self.reader = decord.VideoReader(
            path, ctx=decord.cpu(0), width=width, height=height, num_threads=1, fault_tol=1e-9
        )

    @staticmethod
    def suits(facts: Facts, size: tuple[int, int] | None) -> bool:
        """Whether decord finds and copies the right frames: an upright video, not of certain narrow widths.

        It numbers keyframes in the order in which they are stored. Where B-frames that are shown before a keyframe
        are stored after it, every frame found by seeking is another one (measured: off by the number of those
        B-frames).
        """
        _, width = size or (facts.height, facts.width)
        return facts.alike and facts.closed and not facts.turned and width not in UNFIT_WIDTHS

    def decode(self, indices: list[int]) -> np.ndarray:
        """See Backend."""
        return self.reader.get_batch(indices).asnumpy()

    def close(self) -> None:
        """See Backend."""
        self.reader = None
