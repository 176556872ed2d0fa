"""The doctor's job on the compute node: two tasks look around, and the first one writes what they see.

`node.json` grows with each step, so that a step that hangs is known by what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from ssar.files import write_json, write_text
from ssar.slurm.trial import LOGIN, NODE

PATIENCE = 25.0
"""Seconds that the two tasks wait for each other."""


def trial(folder: Path, wait: float) -> None:
    """Run in each task of the job. `wait`: seconds since the start until which a signal may come."""
    began = time.monotonic()
    received: list[float] = []
    signal.signal(signal.SIGURG, lambda *_: received.append(time.monotonic() - began))
    rank = int(os.environ.get("SLURM_PROCID", "0"))
    report: dict[str, Any] = {"host": socket.gethostname()}

    def note(**found: Any) -> None:
        report.update(found)
        if rank == 0:
            write_json(folder / "node.json", report)

    if rank == 0:
        note(folders=_tokens(folder), lock=_lock(folder), scontrol=_scontrol())
    found = _attempt(_torch)
    note(torch=found)
    if "error" not in found:
        note(gloo=_attempt(lambda: _all_reduce(folder, rank, "gloo")))
        if found["devices"] >= _tasks_here():
            note(nccl=_attempt(lambda: _all_reduce(folder, rank, "nccl")))
    while rank == 0 and not received and time.monotonic() - began < wait:
        time.sleep(0.2)
    note(signal=received[0] if received else None, done=True)


def _attempt(step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A step's findings and seconds, or the error that ended it."""
    began = time.monotonic()
    try:
        found = step()
    except Exception as error:  # whatever a library raises is a finding
        found = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
    return found | {"seconds": round(time.monotonic() - began, 1)}


def _tokens(folder: Path) -> dict[str, str]:
    """Answer each folder's token with its reverse; the error where there is none."""
    found = {}
    for name in json.loads((folder / "folders.json").read_text()):
        try:
            write_text(Path(name) / NODE, (Path(name) / LOGIN).read_text()[::-1])
            found[name] = ""
        except OSError as error:
            found[name] = f"{error.strerror}"
    return found


def _lock(folder: Path) -> str:
    """`held`: the login node's lock is seen here; `free`: it is not; else the error."""
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "held"
        except OSError as error:
            return f"{error.strerror}"
    return "free"


def _scontrol() -> bool:
    """Whether a job can ask about itself, and so queue itself again."""
    job = os.environ.get("SLURM_JOB_ID", "")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["scontrol", "show", "job", job], capture_output=True, timeout=10, check=True)
        return True
    return False


def _torch() -> dict[str, Any]:
    import torch

    there = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": torch.cuda.device_count() if there else 0,
        "name": torch.cuda.get_device_name() if there else None,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def _tasks_here() -> int:
    """Tasks on this node, each of which needs a device of its own."""
    return max(1, 2 // int(os.environ.get("SLURM_STEP_NUM_NODES", "1")))


def _all_reduce(folder: Path, rank: int, backend: str) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    device = torch.device("cpu")
    if backend == "nccl":
        device = torch.device("cuda", int(os.environ.get("SLURM_LOCALID", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    address = _meeting_point(folder / f"{backend}.address", rank)
    wait = timedelta(seconds=PATIENCE)
    dist.init_process_group(backend, init_method=f"tcp://{address}", rank=rank, world_size=2, timeout=wait)
    try:
        value = torch.full((1,), float(rank + 1), device=device)
        dist.all_reduce(value)
        return {"sum": value.item()}
    finally:
        dist.destroy_process_group()


def _meeting_point(file: Path, rank: int) -> str:
    """Host and port of the first task, told through the shared folder."""
    if rank == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        write_text(file, f"{socket.gethostname()}:{port}")
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the other task told no address")
        time.sleep(0.1)
    return file.read_text()
