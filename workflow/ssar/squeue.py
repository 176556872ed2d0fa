"""Which of the user's trainings wait in SLURM's queue, told by the comments that Snakemake gives its jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FORMAT = "%i|%T|%r|%Z|%k"
"""Job, state, reason, folder, comment: the last may hold anything."""

SECONDS = 5.0
"""How long to wait for a busy controller."""

COMMENT = re.compile(r"rule_(?:train_student|pretrain_teacher|finetune_teacher)_wildcards_(?P<run>.+)")


class QueuedJob(NamedTuple):
    """A job of SLURM: its id, its state (PENDING, RUNNING, ...) and why it waits."""

    id: str
    state: str
    reason: str


def trainings() -> dict[str, QueuedJob] | None:
    """The user's jobs of this folder by the run that they train; none without a SLURM client, None where it does not
    answer."""
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--me", "--noheader", "--format", FORMAT]
    try:
        found = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(parse(found.stdout.splitlines(), os.getcwd()))


def parse(lines: Iterable[str], folder: str) -> Iterator[tuple[str, QueuedJob]]:
    """Run and job of each line that is a training's and was submitted in a folder: another may have the same run."""
    for line in lines:
        job, _, rest = line.strip().partition("|")
        state, _, rest = rest.partition("|")
        reason, _, rest = rest.partition("|")
        place, _, comment = rest.partition("|")
        found = COMMENT.fullmatch(comment)
        if found and place == folder:
            yield found["run"], QueuedJob(job, state, reason)
