"""SIGTERM and SIGURG: leave at the next step, with the state saved.

A scheduler sends SIGTERM to cancel, or at the time limit. SIGURG is the warning that SLURM can be asked to send
earlier (``--signal=URG@120``): it is ignored by default, so it reaches only who handles it, and it is answered by
asking SLURM to requeue the job, which then continues under the same id. SIGUSR1 is left alone, because it ends the
Snakemake process that shares the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn

from ssar.progress import note

WATCHED = (signal.SIGTERM, signal.SIGURG)


class Interrupt:
    """Context in which the two signals are noted instead of acted on."""

    def __init__(self) -> None:
        self.received: int = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in WATCHED:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number


def leave(number: int, requeue: bool, together: Callable[[], None] = lambda: None) -> NoReturn:
    """Exit with 128 + the signal's number, after asking SLURM for a new turn if that is what the signal meant.

    `requeue`: whether this process speaks for the job (one of several does). `together`: waits for the other processes;
    a launcher ends those that are left when one has gone, so nobody goes before the job is requeued.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if number == signal.SIGURG and job and requeue:
        note(f"time is nearly up: requeueing job {job}")
        answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if answer.returncode:
            note(f"scontrol requeue {job} failed: {answer.stderr.strip()}")
    together()
    raise SystemExit(128 + number)
