"""Writing files so that a reader sees the old content or the new, never half of it; and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path with the same suffix in the same folder, moved to `path` when the block succeeds.

    On an exception the temporary file is removed and `path` is left as it was. Parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; a result is as readable as any other file of its owner
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; NaN is refused, since other readers of JSON refuse it."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def checksum(path: str | Path, algorithm: str) -> str:
    """Hex digest of a file's content, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def sha256(path: str | Path) -> str:
    """Hex sha256 of a file."""
    return checksum(path, "sha256")


def sha1(path: str | Path) -> str:
    """Hex sha1 of a file."""
    return checksum(path, "sha1")
