"""The signs of life of an attempt, and its last word. Free of torch."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from ssar.engine.attempts import Claim, Superseded
from ssar.engine.failures import reason
from ssar.engine.state import HEARTBEAT, Progress, newest_checkpoint
from ssar.progress import note


class Life:
    """Context of a training: writes progress.json every few seconds, and failure.json where it fails.

    `claim`: None for a training that nobody watches. `speaks`: whether this process speaks for all; the others only
    tell how they failed. A thread writes, so that neither a slow file system nor a long start is seen in the other.
    """

    def __init__(self, claim: Claim | None = None, *, speaks: bool = True) -> None:
        self.claim, self.speaks = claim, speaks
        self.phase, self.step, self.steps = "starting", 0, 0
        self._superseded: Superseded | None = None
        self._first: tuple[int, float] | None = None
        self._clips = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, step: int, steps: int, clips: int) -> None:
        """The training starts at a step, with that many clips in each."""
        self.phase, self.step, self.steps, self._clips, self._first = "training", step, steps, clips, None

    def advance(self, step: int) -> None:
        """That many steps are done. Raises Superseded when a newer attempt has begun."""
        # the first step of an attempt waits for the first data and is no measure of the others
        if self._first is None:
            self._first = step, time.monotonic()
        self.step = step
        self.check()

    def end(self) -> None:
        """No further sign of life: the last word is written elsewhere."""
        self._ended.set()

    def check(self) -> None:
        """Raise Superseded when a newer attempt has begun."""
        if self._superseded is not None:
            raise self._superseded

    def progress(self) -> Progress:
        """How far it is, with the speed of this attempt."""
        assert self.claim is not None
        speed = None
        if self._first is not None and self.step > self._first[0]:
            speed = (self.step - self._first[0]) / (time.monotonic() - self._first[1])
        return Progress(
            self.claim.attempt.attempt,
            self.phase,
            self.step,
            self.steps,
            clips_per_second=speed and round(speed * self._clips, 2),
            seconds_left=speed and round((self.steps - self.step) / speed, 1),
            checkpoint=newest_checkpoint(self.claim.folder),
        )

    def _beat(self) -> None:
        assert self.claim is not None
        told = False
        while not self._ended.wait(HEARTBEAT):
            try:
                with self.claim.hold():
                    if not self._ended.is_set():
                        self.progress().write(self.claim.folder)
            except Superseded as error:
                self._superseded = error
                return
            except Exception as error:  # a full disk or a lost file server is no reason to end a training
                if not told:
                    note(f"no signs of life can be written: {type(error).__name__}: {error}")
                told = True

    def __enter__(self) -> Life:
        if self.claim is not None and self.speaks:
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self.claim is None or error is None or isinstance(error, Superseded):
            return
        if isinstance(error, Exception):
            self.claim.fail(reason(error), self.step or None)
        elif self.speaks:  # SystemExit for a signal, KeyboardInterrupt
            self.claim.interrupted()
