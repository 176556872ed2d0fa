"""Writing files so that a reader sees the old content or the new, never half of it; and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ssar.disk import is_full


class Staged:
    """Files that are written under other names and appear one right after the other, at `publish`.

    A context: what was not published when it ends is removed, and the files of before are left as they were.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []

    def place(self, path: str | Path) -> Path:
        """A temporary path with the suffix of `path` in its folder, to write to. Parent folders are made."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        self._staged.append((Path(name), path))
        return Path(name)

    def rename(self, temporary: Path, path: Path) -> None:
        """Give a staged file another place, in the same folder: for names that depend on the content."""
        self._staged = [(known, path if known == temporary else place) for known, place in self._staged]

    def sync(self) -> None:
        """Wait until what was written lies on the disk, so that no power cut can take it after `publish`."""
        for temporary, _ in self._staged:
            sync(temporary)

    def publish(self) -> None:
        """Move the files to their places, in the order in which they were asked for."""
        # mkstemp makes private files; a result is as readable as any other file of its owner
        umask = os.umask(0)
        os.umask(umask)
        while self._staged:
            temporary, path = self._staged[0]
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, path)
            del self._staged[0]

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for temporary, _path in self._staged:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path with the same suffix in the same folder, moved to `path` when the block succeeds.

    On an exception the temporary file is removed and `path` is left as it was. Parent folders are made.
    """
    with about(path), Staged() as staged:
        yield staged.place(path)
        staged.publish()


@contextmanager
def about(path: str | Path) -> Iterator[None]:
    """A full disk's error names no file; in this block it names `path`."""
    try:
        yield
    except OSError as error:
        if is_full(error) and error.filename is None:
            error.filename = str(path)
        raise


def leftovers(folder: str | Path, suffix: str) -> list[Path]:
    """Temporary files of `Staged` with this suffix: of writers that were killed, or that are at work."""
    return sorted(Path(folder).glob(f".*-????????{suffix}"))


def sync(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, lie on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
