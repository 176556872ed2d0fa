"""Work on many videos in processes of their own: a video that hangs or crashes its decoder costs that video only."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from ssar.data.watchdog import Board, Patience

Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """Instead of a result: why the process that worked on a video ended."""

    reason: str


def _serve(work: Callable[[str], Result], pipe: Connection, board: Board, row: int) -> None:
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):  # whoever gave the work is gone
        while True:
            path = pipe.recv()
            board.start(row, path)
            result = work(path)
            board.finish(row)
            pipe.send(result)


class _Worker(Generic[Result]):
    """A process with the video that it works on."""

    def __init__(self, work: Callable[[str], Result], board: Board, row: int) -> None:
        # a fresh interpreter: forking a process that has opened videos can deadlock
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(work, other, board, row), daemon=True)
        self.process.start()
        other.close()
        self.video = ""
        self.hung = False

    def give(self, video: str) -> None:
        self.video = video
        self.pipe.send(video)

    def take(self, seconds: float) -> Result | Lost:
        """The result of the video. Blocks until there is one, or until the process has ended."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):  # the latter of a process that ended before it took the video
            self.process.join()
            if self.hung:
                return Lost(f"the decoder hangs: silent for more than {seconds:g} s")
            return Lost(f"the decoder crashes (exit status {self.process.exitcode})")

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def on_videos(
    work: Callable[[str], Result], videos: Sequence[str], *, jobs: int, seconds: float
) -> Iterator[tuple[str, Result | Lost]]:
    """Yield ``(video, work(video))`` as they get ready, worked on by `jobs` processes.

    `work` must pickle. A process that is silent for more than `seconds` (see `ssar.data.watchdog.beat`) is killed,
    and one that dies is replaced; the video's result is then a Lost.
    """
    waiting = deque(videos)
    board = Board(max(jobs, 1))
    patience = Patience(board, seconds)
    workers = [_Worker(work, board, row) for row in range(min(max(jobs, 1), len(videos)))]
    try:
        for worker in workers:
            worker.give(waiting.popleft())
        while busy := [worker for worker in workers if worker.video]:
            ready = wait([worker.pipe for worker in busy], timeout=patience.interval)
            for worker in busy:
                if worker.pipe not in ready:
                    continue
                video, result = worker.video, worker.take(seconds)
                if isinstance(result, Lost):
                    row = workers.index(worker)
                    worker.stop()
                    board.finish(row)
                    workers[row] = worker = _Worker(work, board, row)
                worker.video = ""
                if waiting:
                    worker.give(waiting.popleft())
                yield video, result
            _kill_silent(patience, workers)
    finally:
        for worker in workers:
            worker.stop()


def _kill_silent(patience: Patience, workers: Sequence[_Worker]) -> None:
    for entry in patience.lost():
        for worker in workers:
            if worker.process.pid == entry.pid and not worker.hung:
                worker.hung = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(entry.pid, signal.SIGKILL)
