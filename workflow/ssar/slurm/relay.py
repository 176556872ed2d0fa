"""SLURM's signals, passed on inside a job to the processes that answer them.

Where processes are tracked by cgroups, as on most clusters, SLURM sends a signal only to the tasks that it has started
itself; the others are left to SIGKILL. In a job that task is the Snakemake process which runs the rule. A training
below it would hear neither the warning before its time limit nor that it is preempted.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from contextlib import suppress
from pathlib import Path

PASSED_ON = (signal.SIGTERM, signal.SIGURG)


def relay() -> None:
    """Pass SIGTERM and SIGURG on for as long as this process lives. Does nothing outside a step of a SLURM job.

    Snakemake's own answer to SIGTERM, which it sets later, stays: what Python writes of each signal is listened to.
    """
    if "SLURM_STEP_ID" not in os.environ or threading.current_thread() is not threading.main_thread():
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # without an answer in Python there is nothing written
    signal.signal(signal.SIGURG, lambda number, frame: None)
    threading.Thread(target=_listen, args=(reading,), name="relay", daemon=True).start()


def _listen(reading: int) -> None:
    while received := os.read(reading, 64):
        for number in PASSED_ON:
            if number in received:
                pass_on(number)


def pass_on(number: signal.Signals) -> None:
    """Send a signal to the processes below this one that answer SIGURG: trainings, and what starts them.

    Those that it has reached already do not mind. Whatever else runs is left to end by itself.
    """
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if _answers(process.pid):
                process.send_signal(number)


def _answers(pid: int) -> bool:
    with suppress(OSError):
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return found is not None and bool(int(found[1], 16) >> (signal.SIGURG - 1) & 1)
    return False
