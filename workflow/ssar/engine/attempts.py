"""Attempts at a run, and that only the newest of them writes. Free of torch.

A scheduler may start a training again while the earlier process still lives: a node that was only silent, a job that
ignored SIGTERM, a second Snakemake. Each start takes the next number and writes a fresh token to `attempt.json`.
Whatever lasts is written in `Claim.hold`, which looks for the token under a lock; a process that finds another one
leaves, and nothing of it can replace what the newer attempt has made.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssar.engine.state import Attempt, Failure, Progress, newest_checkpoint
from ssar.errors import UserError
from ssar.files import leftovers
from ssar.progress import note

TOKEN = "SSAR_ATTEMPT"
"""Environment variable by which a launcher hands its attempt to the processes that it starts."""

PATIENCE = 180.0
"""Seconds to wait for the lock, which others hold for a moment only, unless the file server makes them wait."""


class Superseded(UserError):  # noqa: N818 - a state of affairs, not a mistake
    """A newer attempt has taken the run over: leave, without writing anything."""


class Claim:
    """The right of one attempt to write the state and the outputs of a run, as long as no newer one takes it."""

    def __init__(self, folder: str | Path, attempt: Attempt) -> None:
        self.folder, self.attempt = Path(folder), attempt
        # threads of one process wait for each other without a limit: they wait for the same file server
        self._turn = threading.Lock()

    @classmethod
    def take(cls, folder: str | Path) -> Claim:
        """Become the newest attempt; the one before is told from the traces that it left."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            before = Attempt.find(folder)
            attempt = Attempt((before.attempt if before else 0) + 1, secrets.token_hex(16))
            attempt.write(folder)
            note(f"{'-' * 8} {attempt} {'-' * 8}")
            if before is not None:
                _tell(folder, before)
            known = Progress.read(folder)
            step = newest_checkpoint(folder)
            steps = known.steps if known else 0
            Progress(attempt.attempt, "starting", step or 0, steps, checkpoint=step).write(folder)
            Failure.remove(folder)
            for path in [*leftovers(folder, ".ckpt"), *leftovers(folder, ".json")]:
                path.unlink(missing_ok=True)
        return cls(folder, attempt)

    @classmethod
    def given(cls, folder: str | Path) -> Claim | None:
        """The claim that this process's launcher took, if it was started by one. Raises Superseded, and OSError."""
        token = os.environ.get(TOKEN)
        if token is None:
            return None
        attempt = Attempt.find(folder)
        if attempt is None or attempt.token != token:
            raise Superseded(f"this attempt was superseded by {attempt or 'another'}: leaving")
        return cls(folder, attempt)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A block in which no newer attempt can begin. Raises Superseded where one has already.

        Blocks are short (renames, small files): others wait for them. Raises OSError where the newest attempt cannot be
        read, which says nothing about it.
        """
        try:
            os.stat(self.folder)
        except FileNotFoundError:
            raise Superseded(f"{self.folder} is gone, and with it the right to write: leaving") from None
        with self._turn, _locked(self.folder):
            newest = Attempt.find(self.folder)
            if newest is None or newest.token != self.attempt.token:
                by = newest or "another process, which left no name"
                raise Superseded(f"attempt {self.attempt.attempt} was superseded by {by}: leaving")
            yield

    def check(self) -> None:
        """Raise Superseded where a newer attempt has begun, as far as can be read."""
        with suppress(OSError), self.hold():
            pass

    def fail(self, reason: str, step: int | None = None, *, overrule: bool = False) -> None:
        """Note why the attempt failed. The first reason stands, since others follow from it, unless overruled."""
        try:
            with self.hold():
                Progress.remove(self.folder)
                known = Failure.read(self.folder)
                if known is not None and overrule:
                    step = step or known.step
                if known is None or overrule:
                    Failure(self.attempt.attempt, reason, step).write(self.folder)
        except (Superseded, OSError) as error:  # the reason is in the log, too
            note(f"not noted in {self.folder}: {error}")

    def interrupted(self) -> None:
        """Note that the attempt was asked to stop: no sign of life is expected any more. Raises Superseded."""
        with suppress(OSError), self.hold():
            Progress.remove(self.folder)


def _tell(folder: Path, before: Attempt) -> None:
    progress, failure = Progress.read(folder), Failure.read(folder)
    if failure is not None:
        where = "" if failure.step is None else f" at step {failure.step}"
        note(f"{before} failed {_date(failure.when)}{where}: {failure.reason}")
    elif progress is not None and progress.attempt == before.attempt:
        where = f"last sign of life {_date(progress.updated)} at step {progress.step}"
        if progress.alive():
            note(f"{before} was killed a moment ago, or still runs and will leave; {where}")
        else:
            note(f"{before} ended without a word; {where} (killed, out of memory, or its node was lost)")


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. On a filesystem without locks there is none, and the token alone has to do."""
    with open(folder / "lock", "ab") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{folder / 'lock'}: another process has held it for {PATIENCE:.0f} s; end that process, "
                        "then give the same command again"
                    ) from None
                time.sleep(0.02)
            except OSError:
                break
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)
