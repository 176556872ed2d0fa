"""Writing torch's files: hashed on the way, on the disk when done, and with the system's word where that fails."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any, cast

import torch


class _Hashing:
    """A file that only takes bytes, hashes and counts them, and keeps the error of a write that failed.

    torch's writer makes a RuntimeError without a cause of an exception, and may abort the process in its destructor.
    So a failed write is remembered, and those after it are only counted.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash, self.count = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        size = len(memoryview(data).cast("B"))
        self.count += size
        if self.error is None:
            try:
                self.file.write(data)
                self.hash.update(data)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing: the file is flushed once, at the end."""


class WriteError(OSError):
    """A file that could not be written. `needed`: its size in bytes."""

    needed: int = 0


def save(value: Any, path: Path) -> str:
    """Write tensors, numbers, text and containers of them, and wait for the disk; returns the content's hex sha256.

    Raises WriteError with the cause's number where the disk does not take it.
    """
    error: OSError | None = None
    file = open(path, "wb")  # noqa: SIM115 - closing fails once more after a failed write
    hashing = _Hashing(file)
    try:
        torch.save(value, cast(IO[bytes], hashing))
        error = hashing.error
        if error is None:
            file.flush()
            os.fsync(file.fileno())
    except OSError as late:
        error = late
    finally:
        try:
            file.close()
        except OSError as late:
            error = error or late
    if error is not None:
        failed = WriteError(error.errno, error.strerror, str(path))
        failed.needed = hashing.count
        raise failed from error
    return hashing.hash.hexdigest()
