"""Progress of long work: a bar with an ETA on a terminal, plain periodic lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def note(text: str) -> None:
    """One line for the log, with the time of day; none where the log's disk is full or its terminal gone."""
    with suppress(OSError):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class Meter:
    """Counts units of work and says how far it is; `total` may be 0: unknown. `detail` is free text beside the bar."""

    def __init__(self, total: int, label: str, done: int = 0) -> None:
        self.total, self.label, self.done = total, label, done
        self.first, self.start, self.last_line = done, time.monotonic(), time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, TextColumn("{task.fields[detail]}"), console=Console(stderr=True))
            self.bar.start()
            self.task = self.bar.add_task(label, total=total or None, completed=done, detail="")

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Add finished units."""
        self.done += count
        if self.bar is not None:
            with suppress(OSError):
                self.bar.update(self.task, completed=self.done, detail=detail)
            return
        now = time.monotonic()
        if now - self.last_line < SECONDS_BETWEEN_LINES and (self.done < self.total or not self.total):
            return
        self.last_line = now
        if not self.total:
            note(f"{self.label}: {self.done} {detail}".rstrip())
            return
        rate = (self.done - self.first) / max(now - self.start, 1e-9)
        left = clock((self.total - self.done) / rate) if rate else "unknown"
        note(f"{self.label}: {self.done}/{self.total}, {left} left {detail}".rstrip())

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            with suppress(OSError):
                self.bar.stop()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def track(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield the items, counting each as one unit when the next is asked for."""
    with Meter(total, label) as meter:
        for item in items:
            yield item
            meter.advance()
