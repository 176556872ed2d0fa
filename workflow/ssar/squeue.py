"""Which of the user's trainings wait in SLURM's queue, told by the comments that Snakemake gives its jobs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FORMAT = "%i|%T|%r|%k"
"""Job, state, reason, comment: the last may hold anything."""

SECONDS = 5.0
"""How long to wait for a busy controller."""

COMMENT = re.compile(r"rule_(?:train_student|pretrain_teacher|finetune_teacher)_wildcards_(?P<run>.+)")


class QueuedJob(NamedTuple):
    """A job of SLURM: its id, its state (PENDING, RUNNING, ...) and why it waits."""

    id: str
    state: str
    reason: str


def trainings() -> dict[str, QueuedJob] | None:
    """The user's jobs by the run that they train; none without a SLURM client, None where it does not answer."""
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--me", "--noheader", "--format", FORMAT]
    try:
        found = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(parse(found.stdout.splitlines()))


def parse(lines: Iterable[str]) -> Iterator[tuple[str, QueuedJob]]:
    """Run and job of each line that is a training's."""
    for line in lines:
        job, _, rest = line.strip().partition("|")
        state, _, rest = rest.partition("|")
        reason, _, comment = rest.partition("|")
        found = COMMENT.fullmatch(comment)
        if found:
            yield found["run"], QueuedJob(job, state, reason)
