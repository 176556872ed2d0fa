"""Requests to stop: leave at the next step, with the state saved.

A scheduler sends SIGTERM to cancel, or at the time limit; a terminal sends SIGINT for Ctrl-C and SIGHUP when it is
closed. SIGURG is the warning that SLURM can be asked to send earlier (``--signal=URG@120``): it is ignored by default,
so it reaches only who handles it, and it is answered by asking SLURM to requeue the job, which then continues under
the same id. SIGUSR1 is left alone, because it ends the Snakemake process that shares the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, NoReturn

from ssar.progress import note

WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGURG)

SAME = 1.0
"""Seconds within which a second SIGINT is the same request, sent to the group and passed on."""

ANSWER = 60.0
"""Seconds that SLURM's controller has to answer."""


def catch(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Let `handler` answer the watched signals; returns their handlers of before.

    What this process was started to ignore it goes on ignoring (`nohup`, a background job of a script).
    """
    heard = [number for number in WATCHED if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def give_back(before: Mapping[int, Any]) -> None:
    """Set the handlers that `catch` has replaced."""
    for number, handler in before.items():
        signal.signal(number, handler)


class Interrupt:
    """Context in which the watched signals are noted instead of acted on; a second SIGINT is KeyboardInterrupt."""

    def __init__(self) -> None:
        self.received: int = 0
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        self._before = catch(self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        give_back(self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received, self._when = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._when > SAME:
            raise KeyboardInterrupt


def leave(number: int, requeue: bool, together: Callable[[], None] = lambda: None) -> NoReturn:
    """Exit with 128 + the signal's number, after asking SLURM for a new turn if that is what the signal meant.

    `requeue`: whether this process speaks for the job (one of several does). `together`: waits for the other processes;
    a launcher ends those that are left when one has gone, so nobody goes before the job is requeued.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if number == signal.SIGURG and job and requeue:
        note(f"time is nearly up: requeueing job {job}")
        ask("scontrol", "requeue", job)
    together()
    raise SystemExit(128 + number)


def ask(*command: str) -> None:
    """Give a command to SLURM's controller; where it fails, that is noted, and the work goes on."""
    try:
        answer = subprocess.run(command, capture_output=True, timeout=ANSWER, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        note(f"{' '.join(command)} failed: {error}")
        return
    if answer.returncode:
        note(f"{' '.join(command)} failed: {answer.stderr.decode(errors='replace').strip()}")
