"""What the trial job's findings mean: pure functions of its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssar.slurm.checks import KEYS, Check
from ssar.slurm.trial import Outcome

SLOW_IMPORT = 60.0
"""Seconds after which importing torch says that the environment lies on a slow file system."""


def verdicts(outcome: Outcome, gpus: int, patience: float) -> Iterator[Check]:
    """Checks from an outcome. `gpus`: how many the job asked for on each node; `patience`: seconds waited for it."""
    report = outcome.report
    yield _start(outcome, patience)
    if not report:
        return
    yield from _files(outcome)
    if "torch" not in report:
        text = f"importing torch took longer than there was time (host {report['host']})"
        yield Check("problem", "environment", text, "put the checkout with .venv on a faster file system")
        return
    yield from _environment(report["torch"], gpus)
    for backend in ("gloo", "nccl"):
        if backend in report:
            yield _reduced(backend, report[backend])
    if gpus and "nccl" not in report:
        yield Check("ok", "nccl", "not tried: it needs a GPU for each of two tasks")
    yield _signal(outcome)


def _start(outcome: Outcome, patience: float) -> Check:
    where = f"job {outcome.job}"
    if outcome.report:
        return Check("ok", "trial job", f"{where} ran on {outcome.report['host']}")
    if outcome.state == "PENDING":
        reason = f" ({outcome.reason})" if outcome.reason not in ("", "None") else ""
        advice = f"--seconds {2 * int(patience)} waits longer; `squeue --start` tells when a job would begin"
        return Check(
            "warning", "trial job", f"{where} was still waiting after {patience:.0f} s{reason}, and cancelled", advice
        )
    last = outcome.log.strip().splitlines()[-1:] or ["it wrote no output that is seen here"]
    advice = "is the results folder on a file system that the nodes share?"
    return Check("problem", "trial job", f"{where} ended as {outcome.state} without a word: {last[0]}", advice)


def _files(outcome: Outcome) -> Iterator[Check]:
    advice = "keep checkout and `results` on a file system that login and compute nodes share"
    for folder, error in outcome.report["folders"].items():
        subject = f"folder {Path(folder).parent}"
        if error:
            yield Check("problem", subject, f"the node does not see what is written here: {error}", advice)
        elif not outcome.seen.get(folder):
            yield Check("problem", subject, "what the node writes is not seen here", advice)
        else:
            yield Check("ok", subject, "shared, both ways")
    lock = outcome.report["lock"]
    if lock == "held":
        yield Check("ok", "locks", "flock holds between this machine and the node")
    else:
        text = "flock holds on one machine only" if lock == "free" else f"no flock: {lock}"
        advice = "see that a run is trained by one Snakemake at a time"
        yield Check("warning", "locks", text, advice)
    if not outcome.report["scontrol"]:
        text = "a job cannot ask about itself, so it cannot queue itself again before its time limit"
        yield Check("problem", "scontrol on the node", text, "have SLURM's commands and /etc/slurm on the nodes")


def _environment(torch: dict[str, Any], gpus: int) -> Iterator[Check]:
    if "error" in torch:
        yield Check(
            "problem", "environment", f"torch is not imported: {torch['error']}", "make setup, on a shared file system"
        )
        return
    took = torch["seconds"]
    slow = took > SLOW_IMPORT
    advice = "put the checkout with .venv on a faster file system" if slow else ""
    yield Check("warning" if slow else "ok", "environment", f"torch {torch['version']} imported in {took} s", advice)
    if not gpus:
        return
    visible = torch["visible"]
    if torch["devices"] >= gpus:
        yield Check("ok", "GPUs", f"{torch['devices']} x {torch['name']}, CUDA {torch['cuda']}")
    elif torch["devices"]:
        yield Check("problem", "GPUs", f"asked for {gpus}, torch sees {torch['devices']}", f"`gpu_name` in {KEYS}")
    elif visible:
        text = f"the job has devices {visible}, and torch {torch['version']} finds no CUDA there"
        yield Check("warning", "GPUs", text, "is the driver older than this torch, or a module missing?")
    else:
        text = f"asked for {gpus}, and the job got none (no CUDA_VISIBLE_DEVICES)"
        yield Check("problem", "GPUs", text, f"`partition` and `gpu_name` in {KEYS}")


def _reduced(backend: str, found: dict[str, Any]) -> Check:
    if found.get("sum") == 3.0:
        return Check("ok", backend, f"two tasks agreed in {found['seconds']} s")
    advice = (
        "trainings on several devices will not start: NCCL_DEBUG=INFO, NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME help"
    )
    return Check("problem", backend, f"all-reduce of two tasks: {found.get('error', found.get('sum'))}", advice)


def _signal(outcome: Outcome) -> Check:
    after = outcome.report.get("signal")
    if after is not None:
        return Check("ok", "warning signal", f"SIGURG reached the step, {after:.0f} s after its start")
    if not outcome.done:
        return Check("warning", "warning signal", "there was no time left to wait for it", "--seconds 120 does")
    advice = "time limits end in a resubmission from the last checkpoint: lower `runtime.checkpoint_minutes`"
    return Check("warning", "warning signal", "SIGURG did not reach the step in time", advice)
