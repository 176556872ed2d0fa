"""Reading frames of a video file, by number, through one of three decoders.

Frame i is the i-th frame that a decoder puts out from the start of the file, counted from 0, turned upright as the
container asks. All backends give the same frames: at the native size equal but for single values that differ by
rounding (at most 2 of 255), since all are FFmpeg's decoders and swscale. With `short_side` decord and PyAV differ by
less than 1 of 255 on average in natural videos; torchcodec converts to RGB before it scales, not after, and differs
by less than 2. Videos that a backend would turn or seek wrongly (see `suits`) are left to PyAV.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import av
import numpy as np

from ssar.data.backends.timetable import Facts, read_facts
from ssar.data.heap import closed_video
from ssar.errors import UserError

BACKENDS = {"decord": "DecordBackend", "pyav": "PyAVBackend", "torchcodec": "TorchCodecBackend"}
PACKAGES = {"decord": "decord", "pyav": "av", "torchcodec": "torchcodec"}
DEFAULT = "pyav"
"""Reads every video, on every platform, and as fast as decord (benchmarks/decode.py)."""


class DecodeError(UserError):
    """A video, or a frame of it, that does not decode. The message names the video."""


class Reader(Protocol):
    """An open video."""

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """Frames as uint8 (len(indices), H, W, 3), RGB. Indices may repeat and come in any order.

        Raises DecodeError that names the video if one of them is not a frame that decodes.
        """

    def close(self) -> None:
        """Release the file. The reader cannot be used afterwards."""


class Backend(Protocol):
    """A decoder of one file: `Backend(path, size)`, where `size` is the upright height and width to scale to."""

    errors: tuple[type[Exception], ...]

    @staticmethod
    def suits(facts: Facts, size: tuple[int, int] | None) -> bool:
        """Whether it reads such a video rightly at that size; PyAV reads it otherwise."""

    def decode(self, indices: list[int]) -> np.ndarray:
        """Frames of sorted indices without repetitions, as uint8 (len(indices), H, W, 3)."""

    def close(self) -> None:
        """Release the file. Closing again does nothing."""


class Video:
    """A Reader over a backend: orders the indices, so that a file is read forward once, and names it in errors.

    What another backend fails at is asked of PyAV, so that whether a video is read does not depend on the backend.
    """

    def __init__(self, path: str, backend: Any, short_side: int | None) -> None:
        self.path, self.exact = path, _backend(DEFAULT)
        self.errors = (OSError, av.FFmpegError, IndexError, StopIteration, *backend.errors)
        try:
            self.size = None
            # PyAV at the native size takes every video as it is: a look at each first would be a tenth of reading it
            if backend is not self.exact or short_side is not None:
                facts = read_facts(path)
                self.size = None if short_side is None else scaled_size(facts.height, facts.width, short_side)
                backend = backend if backend.suits(facts, self.size) else self.exact
            self.backend = self._open(backend)
        except FileNotFoundError as error:
            raise DecodeError(f"no such video: {path}") from error
        except self.errors as error:
            raise DecodeError(f"{path} cannot be read as a video: {_reason(error)}") from error

    def _open(self, backend: Any) -> Backend:
        try:
            return backend(self.path, self.size)
        except self.errors:
            if backend is self.exact:
                raise
            return self.exact(self.path, self.size)

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """See Reader."""
        wanted, position = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        if not len(wanted) or wanted[0] < 0:
            raise ValueError(f"frame indices must be given and not negative: {list(indices)}")
        try:
            decoded = self._decode(wanted.tolist())
        except self.errors as error:
            where = f"frames {wanted[0]} to {wanted[-1]}"
            raise DecodeError(f"{self.path}: {where} do not decode: {_reason(error)}") from error
        # most clips ask for sorted frames without repetitions: no copy then
        return decoded if np.array_equal(position, np.arange(len(wanted))) else decoded[position]

    def _decode(self, indices: list[int]) -> np.ndarray:
        try:
            return self.backend.decode(indices)
        except self.errors:
            if isinstance(self.backend, self.exact):
                raise
            self.backend.close()
            self.backend = self.exact(self.path, self.size)
            return self.backend.decode(indices)

    def close(self) -> None:
        """See Reader."""
        self.backend.close()
        closed_video()


def open_video(path: str | os.PathLike[str], backend: str = "auto", short_side: int | None = None) -> Video:
    """Open a video with one decoding thread, in the process that will read it.

    Args:
        path: the file.
        backend: decord, pyav, torchcodec or auto, which is pyav.
        short_side: decode at this short side, aspect ratio kept, both sides even; none: the native size.

    Raises:
        DecodeError: the file is missing or is no video.
        UserError: the backend is unknown or not installed.
    """
    return Video(os.fspath(path), _backend(backend_name(backend)), short_side)


def backend_name(backend: str) -> str:
    """The decoder that `auto` stands for; any other name as it is. For the provenance of a run."""
    return DEFAULT if backend == "auto" else backend


@cache
def _backend(name: str) -> Any:
    if name not in BACKENDS:
        raise UserError(f"unknown video reader `{name}`; known: auto, {', '.join(BACKENDS)}")
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise UserError(f"the video reader `{name}` needs the package {PACKAGES[name]}; install it or choose `auto`")
    try:
        module = importlib.import_module(f"ssar.data.backends.{name}")
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # torchcodec without FFmpeg's libraries, or beside another torch
        raise UserError(
            f"the video reader `{name}` is installed but does not load ({_reason(error)}); install what it needs (for "
            "torchcodec FFmpeg's shared libraries) or choose `auto`"
        ) from error
    return getattr(module, BACKENDS[name])


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width with a short side as given and the aspect ratio kept, both rounded to even numbers."""
    factor = short_side / min(height, width)
    return max(2, 2 * round(height * factor / 2)), max(2, 2 * round(width * factor / 2))


def _reason(error: Exception) -> str:
    """The line of a decoder's message that says something: decord appends a stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
