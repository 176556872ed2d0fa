"""Noticing that a decoder hangs, from outside its process, and naming the video.

A native decoder can hang while it holds the interpreter's lock, so neither a signal handler nor a thread of the same
process gets to run. Each process therefore writes on a shared board which video it works on and since when, and
another process (the one that trains, or a guard beside it) reads the board. Free of torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray
from typing import NamedTuple

import numpy as np

SUSPENDED = 3.0
"""Seconds by which a question comes too late when whoever asks was stopped, and the machine is not just busy."""

ROW = np.dtype([("since", "f8"), ("pid", "i8"), ("video", "S1000")])


class Busy(NamedTuple):
    """A process that works on a video."""

    pid: int
    video: str
    seconds: float


class Board:
    """One row of shared memory per process; written by its process, read by any."""

    current: tuple[Board, int] | None = None
    """The board and the row of this process."""

    def __init__(self, rows: int) -> None:
        self._memory = RawArray("b", rows * ROW.itemsize)

    @property
    def _rows(self) -> np.ndarray:
        return np.frombuffer(self._memory, ROW)

    def enrol(self, row: int) -> None:
        """The row is this process's from now on."""
        Board.current = (self, row)
        self._rows["pid"][row] = os.getpid()

    def start(self, row: int, video: str) -> None:
        """This process begins to work on a video."""
        self.enrol(row)
        entry = self._rows[row : row + 1]
        entry["video"] = os.fsencode(video)[-ROW["video"].itemsize :]
        # `since` is what a reader trusts: it is set last here, and cleared first in `finish`
        entry["since"] = time.monotonic()

    def finish(self, row: int) -> None:
        """This process waits for work."""
        self._rows["since"][row] = 0.0

    def touch(self, row: int) -> None:
        """This process still works on the video that it started, if it has not finished it, and has come further."""
        if self._rows["since"][row]:
            self._rows["since"][row] = time.monotonic()

    @property
    def pids(self) -> list[int]:
        """The processes that have a row."""
        return [int(pid) for pid in self._rows["pid"] if pid]

    def busy(self) -> list[Busy]:
        """The processes at work, the longest first."""
        now = time.monotonic()
        rows = [row for row in self._rows.copy() if row["since"] > 0]
        found = [Busy(int(row["pid"]), os.fsdecode(bytes(row["video"])), now - float(row["since"])) for row in rows]
        return sorted(found, key=lambda entry: -entry.seconds)


def beat() -> None:
    """Called inside a long piece of work on one video: it is not hanging. Does nothing where nobody watches."""
    if Board.current is not None:
        board, row = Board.current
        board.touch(row)


def hang_message(entry: Busy) -> str:
    """What the user reads about a video that hangs."""
    return (
        f"the decoder has been silent for {entry.seconds:.0f} s while reading {entry.video}; remove or re-encode the "
        f"video (and index the dataset anew), or raise `runtime.watchdog_seconds` where the storage is that slow"
    )


class Patience:
    """Who is at one video for more than `seconds`, asked every `interval` seconds.

    Where a whole job is suspended and resumed (Ctrl-Z, a scheduler), its decoders were silent for no fault of theirs.
    Whoever asks was stopped with them, and the next question comes late: then everybody's silence counts anew.
    """

    def __init__(self, board: Board, seconds: float) -> None:
        self.board, self.seconds, self.interval = board, seconds, min(1.0, seconds / 4)
        self.asked = self.resumed = time.monotonic()

    def lost(self) -> list[Busy]:
        """Those who were silent for too long, the longest first."""
        now = time.monotonic()
        if now - self.asked > self.interval + SUSPENDED:
            self.resumed = now
        self.asked = now
        silent = [entry for entry in self.board.busy() if entry.seconds > self.seconds]
        return silent if now - self.resumed > self.seconds else []


class Watch(threading.Thread):
    """Kills the first process of a board that is silent for too long; its message is then in `verdict`."""

    def __init__(self, board: Board, seconds: float) -> None:
        super().__init__(name="decoder watchdog", daemon=True)
        self.patience = Patience(board, seconds)
        self.verdict: str | None = None
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(self.patience.interval):
            if stuck := self.patience.lost():
                self.verdict = hang_message(stuck[0])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stuck[0].pid, signal.SIGKILL)
                return

    def stop(self) -> None:
        """End the thread."""
        self._stop_asked.set()


def _guard(board: Board, seconds: float, parent: int) -> None:
    # the guarded process answers them, and ends this one
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    patience = Patience(board, seconds)
    while os.getppid() == parent:
        time.sleep(patience.interval)
        if stuck := [entry for entry in patience.lost() if entry.pid == parent]:
            print(f"error: {hang_message(stuck[0])}", file=sys.stderr, flush=True)
            os.kill(parent, signal.SIGKILL)
            return


@contextmanager
def guarded(board: Board, seconds: float) -> Iterator[None]:
    """For a process that decodes by itself: a guard process names the video that hangs, and kills this process.

    Nothing gentler reaches a process that hangs in native code; a killed run continues from its last checkpoint.
    """
    # a fresh interpreter, since forking a process with a trained network's threads in it is not safe
    process = multiprocessing.get_context("spawn").Process(
        target=_guard, args=(board, seconds, os.getpid()), daemon=True, name="decoder guard"
    )
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()
