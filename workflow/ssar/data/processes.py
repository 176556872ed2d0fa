"""How worker processes start and end, whatever happens to the process that they work for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from threading import Thread

from ssar.data.watchdog import Board


def context(work: object) -> BaseContext:
    """Processes that inherit neither threads nor locks nor the accelerator from the one that trains, and do `work`."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    # imported once by the server: workers then start in milliseconds and share its memory
    server.set_forkserver_preload(["torch", type(work).__module__])
    return server


def serve() -> None:
    """Start the process that the workers are forked from, where there is such a thing and it does not run yet.

    Python gives it no import path before 3.12.3: without one each worker would import for itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that start in this block never see a request to stop: SIGTERM, SIGINT, SIGHUP.

    A scheduler or a terminal sends it to all processes of a job. The one that trains answers it, and may need one more
    batch for that; it ends the others itself.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    requests = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, requests)
    try:
        resource_tracker.ensure_running()  # where it did not run yet, it has unblocked two of them
        signal.pthread_sigmask(signal.SIG_BLOCK, requests)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin(board: Board, worker: int) -> None:
    """What a worker does first."""
    board.enrol(worker)
    Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """torch's workers look at the process that forked them, which is not the one that they work for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def end(board: Board) -> None:
    """Kill the workers: one that hangs hears nothing gentler, and none has anything to lose."""
    ours = {process.pid for process in multiprocessing.active_children()}
    for pid in (pid for pid in board.pids if pid in ours):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
