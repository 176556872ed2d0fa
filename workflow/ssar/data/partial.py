"""The bytes of an unfinished download, where they come from, and who may add to them."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ssar.errors import UserError
from ssar.files import write_json


@dataclass(frozen=True)
class Origin:
    """Which version of which address the bytes of an unfinished download are of."""

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a strong ETag or a date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs(self, other: Origin) -> bool:
        """Whether two answers of one address are of different versions."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.total, other.total))
        return any(mine is not None and theirs is not None and mine != theirs for mine, theirs in pairs)


class Partial:
    """The bytes of an unfinished download, `<name>.part`, and their origin beside them."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".part")
        self._origin = path.with_name(path.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def origin(self) -> Origin | None:
        """None where it is not known: then only a checksum can tell whether the bytes are the right ones."""
        try:
            return Origin(**json.loads(self._origin.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, origin: Origin) -> None:
        """Throw the bytes away and remember where the next ones come from."""
        self.discard()
        write_json(self._origin, asdict(origin))

    def discard(self) -> None:
        # the bytes first: without an origin they are never continued, with another one's they would be
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def publish(self, path: Path) -> None:
        self.path.replace(path)
        self._origin.unlink(missing_ok=True)


@contextmanager
def alone(path: Path, wait: float, pause: float) -> Iterator[None]:
    """Let no other process download the same file: a job that was thought dead may still be at it.

    Another one is waited for, `wait` seconds at most; it is looked for every `pause` seconds. Raises UserError.
    """
    lock, deadline = path.with_name(f".{path.name}.lock"), time.monotonic() + wait
    while True:
        with open(lock, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(f"{path}: another process has been downloading it for long; end it first") from None
                time.sleep(pause)
                continue
            except OSError:  # a file system without locks
                pass
            if not _is_file(lock, file):  # who had it before has removed it; a third one may lock a new one
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_file(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is what a path names now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
