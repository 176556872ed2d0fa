"""A short job that finds out what only a compute node can tell: what the doctor submits, awaits and cancels."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssar.errors import UserError
from ssar.project import ROOT
from ssar.slurm.site import Site

LOGIN, NODE = "from-login", "from-node"
"""Files with a token each, in every folder that must be shared."""

LIMIT = 3
"""Minutes that the job may take. The warning is asked for so early that it comes while the job runs."""

_OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")


@dataclass
class Outcome:
    """What came of the trial."""

    job: str
    state: str = "PENDING"
    reason: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    """What the node wrote so far; see `ssar.slurm.node`."""
    seen: dict[str, bool] = field(default_factory=dict)
    """Whether the node's token arrived, by folder."""
    log: str = ""
    """The end of the job's own output."""
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the node went through everything."""
        return bool(self.report.get("done"))


def command(site: Site, folder: Path, *, partition: str | None, gpus: int, nodes: int, wait: float) -> list[str]:
    """The call of sbatch. `gpus` are of one node; `wait`: how long the job stays for a signal, in seconds."""
    own = [
        sys.executable,
        str(ROOT / "workflow" / "cli.py"),
        "slurm",
        "trial",
        str(folder),
        "--seconds",
        str(int(wait)),
    ]
    gres = f"--gres=gpu:{f'{site.gpu_name}:' if site.gpu_name else ''}{gpus}" if gpus else ""
    options = {
        "--partition": partition,
        "--account": site.account,
        "--qos": site.qos,
        "--constraint": site.constraint if gpus or site.cpu_partition is None else None,
    }
    step = shlex.join(["srun", f"--nodes={nodes}", "--ntasks=2", "--cpus-per-task=1", *own])
    return [
        *("sbatch", "--parsable", "--job-name=ssar-doctor", f"--output={folder / 'job.log'}", f"--chdir={ROOT}"),
        *("--export=ALL", f"--nodes={nodes}", "--ntasks=2", "--cpus-per-task=1", "--mem=8000", f"--time={LIMIT}"),
        f"--signal=URG@{LIMIT * 60 - 5}",
        "--no-requeue",
        *(f"{option}={value}" for option, value in options.items() if value),
        *filter(None, [gres]),
        *shlex.split(site.extra or ""),
        f"--wrap=unset SLURM_CONF; {step}",
    ]


def shared(results: Path) -> list[Path]:
    """The folders that login and compute nodes must see alike: the results, and the checkout with Snakemake's notes."""
    token = secrets.token_hex(4)
    return [results.resolve() / f".doctor-{token}", ROOT / ".snakemake" / f".doctor-{token}"]


@contextlib.contextmanager
def _prepared(folders: list[Path]) -> Iterator[None]:
    """The folders with a token in each and a lock in the first, held; removed afterwards."""
    try:
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / LOGIN).write_text(secrets.token_hex(8))
        (folders[0] / "folders.json").write_text(json.dumps([str(folder) for folder in folders]))
        with open(folders[0] / "lock", "w") as lock:
            with contextlib.suppress(OSError):  # the node tells whether locks work
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from None
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _call(*command: str) -> str:
    """Output of a command; empty where it fails or does not answer within ten seconds."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def run(site: Site, results: Path, *, partition: str | None, gpus: int, nodes: int, patience: float) -> Outcome:
    """Submit the job and wait for at most `patience` seconds; whatever happens, no job and no file is left.

    Raises UserError where sbatch refuses it.
    """
    folders = shared(results)
    with _prepared(folders):
        began = time.monotonic()
        call = command(site, folders[0], partition=partition, gpus=gpus, nodes=nodes, wait=max(5.0, patience - 10))
        submitted = subprocess.run(call, capture_output=True, text=True, check=False)
        if submitted.returncode:
            raise UserError(submitted.stderr.strip() or f"sbatch ended with status {submitted.returncode}")
        outcome = Outcome(submitted.stdout.strip().split(";")[0])
        try:
            while time.monotonic() - began < patience and not outcome.done and outcome.state not in _OVER:
                time.sleep(0.5)
                _look(outcome, folders)
            if outcome.state in _OVER and not outcome.done:
                time.sleep(2)  # the last lines may still be on their way
                _look(outcome, folders)
        finally:
            _cancel(outcome.job)
        outcome.seconds = time.monotonic() - began
        return outcome


def _look(outcome: Outcome, folders: list[Path]) -> None:
    state, _, reason = _call("squeue", "-h", "-t", "all", "-j", outcome.job, "-o", "%T|%r").strip().partition("|")
    outcome.state, outcome.reason = state or outcome.state, reason
    with contextlib.suppress(OSError, ValueError):
        outcome.report = json.loads((folders[0] / "node.json").read_text())
    with contextlib.suppress(OSError):
        outcome.log = (folders[0] / "job.log").read_text(errors="replace")[-2000:]
    for folder in folders:
        with contextlib.suppress(OSError):
            outcome.seen[str(folder)] = (folder / NODE).read_text() == (folder / LOGIN).read_text()[::-1]


def _cancel(job: str) -> None:
    """Cancel the job and wait until it is gone, so that it writes into no folder that was removed."""
    _call("scancel", job)
    for _ in range(20):
        state = _call("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()
        if not state or state in _OVER:
            return
        time.sleep(0.5)
