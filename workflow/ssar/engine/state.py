"""What a run's state folder says: the newest attempt, how far it is, why it failed. Free of torch.

The folder outlives the process that writes it, so a reader takes a torn or foreign file for none at all.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, TypeAdapter

from ssar.files import write_json

HEARTBEAT = 10.0
"""Seconds between two lines of life."""
SILENCE = 120.0
"""Seconds without one after which an attempt no longer counts as running."""

CHECKPOINT = re.compile(r"checkpoint-(\d{8,})-([0-9a-f]{16})\.ckpt")
"""Name of a resume checkpoint: the steps that it holds, and the beginning of its content's sha256."""

Moment = Annotated[float, Field(ge=0, lt=250_000_000_000)]
"""Seconds since 1970, of a year that calendars know."""


@dataclass(frozen=True)
class Note:
    """A small JSON file in the state folder, named `FILE`."""

    FILE: ClassVar[str]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    @classmethod
    def find(cls, folder: str | Path) -> Self | None:
        """The file's content; None where there is none, or none that can be understood.

        Raises OSError where the file may be there, and cannot be read.
        """
        try:
            content = json.loads((Path(folder) / cls.FILE).read_text(encoding="utf-8"))
            if content.keys() != {part.name for part in fields(cls)}:
                return None
            return TypeAdapter(cls).validate_python(content)
        except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError, RecursionError):
            return None

    @classmethod
    def read(cls, folder: str | Path) -> Self | None:
        """The file's content; None where there is none that can be read and understood."""
        try:
            return cls.find(folder)
        except OSError:
            return None

    def write(self, folder: str | Path) -> None:
        """Write the file atomically."""
        write_json(Path(folder) / self.FILE, asdict(self))

    @classmethod
    def remove(cls, folder: str | Path) -> None:
        """Remove the file, if there is one."""
        (Path(folder) / cls.FILE).unlink(missing_ok=True)


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def job() -> str | None:
    """The SLURM job that this process belongs to, if any."""
    return os.environ.get("SLURM_JOB_ID")


@dataclass(frozen=True)
class Attempt(Note):
    """One start of a training. The newest one's `token` is the right to write."""

    FILE = "attempt.json"

    attempt: int
    token: str
    host: str = field(default_factory=host)
    pid: int = field(default_factory=os.getpid)
    job: str | None = field(default_factory=job)
    started: Moment = field(default_factory=time.time)

    def __str__(self) -> str:
        place = self.host if self.job is None else f"{self.host}, job {self.job}"
        return f"attempt {self.attempt} ({place})"


@dataclass(frozen=True)
class Progress(Note):
    """How far the running attempt is; `steps` is 0 before it is known.

    `phase`: starting, training, precise batch normalisation, writing. `updated`: seconds since 1970. `checkpoint`: the
    step of the newest one.
    """

    FILE = "progress.json"

    attempt: int
    phase: str
    step: int
    steps: int
    clips_per_second: float | None = None
    seconds_left: float | None = None
    checkpoint: int | None = None
    updated: Moment = field(default_factory=time.time)

    def alive(self, now: float | None = None) -> bool:
        """Whether the last sign of life is recent enough; one from the future is by a clock that is fast."""
        return abs((time.time() if now is None else now) - self.updated) < SILENCE


@dataclass(frozen=True)
class Failure(Note):
    """Why an attempt failed. Requests to stop (SIGTERM, SIGURG, a newer attempt) leave none."""

    FILE = "failure.json"

    attempt: int
    reason: str
    step: int | None = None
    host: str = field(default_factory=host)
    job: str | None = field(default_factory=job)
    when: Moment = field(default_factory=time.time)


def newest_checkpoint(folder: str | Path) -> int | None:
    """The step of the newest resume checkpoint by its name; None where there is none."""
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    return max((int(found[1]) for name in names if (found := CHECKPOINT.fullmatch(name))), default=None)
