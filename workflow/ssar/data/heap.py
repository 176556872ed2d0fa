"""Giving freed memory back to the system: decoders leave holes in glibc's heap, which then grows with every video."""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Callable
from functools import cache

TRIM_EVERY = 200
"""Videos; a call takes milliseconds."""

_closed = itertools.count(1)


def closed_video() -> None:
    """A decoder has been closed: now and then its process gives back what is free.

    Without it a process grew by 14 kB with each H.264 file that torchcodec read, and, depending on what else lay in its
    heap, by 28 kB with each small file that PyAV read (benchmarks/decode.py).
    """
    if next(_closed) % TRIM_EVERY == 0 and (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """None where the C library is another one, which has no such call."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
