"""How far the runs of a target are, from the files that they leave: results, and the notes in their state folders."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ssar.cost.plan import declared, expanded
from ssar.engine.state import SILENCE, Attempt, Failure, Progress, newest_checkpoint
from ssar.errors import UserError
from ssar.paths import Paths
from ssar.squeue import QueuedJob
from ssar.targets import Targets

State = Literal["failed", "running", "queued", "interrupted", "missing", "done"]
STATES: tuple[State, ...] = get_args(State)

FINISHED = ("model.pt", "run.json")
"""A run that has both is done."""


@dataclass(frozen=True)
class Signs:
    """What a run's state folder says of its attempts."""

    attempt: Attempt | None = None
    progress: Progress | None = None
    failure: Failure | None = None
    checkpoint: int | None = None
    """The step that the run would continue at."""

    @classmethod
    def find(cls, folder: str | Path) -> Signs:
        """Those of a folder; none of a folder that does not exist. Raises OSError where some cannot be read."""
        return cls(Attempt.find(folder), Progress.find(folder), Failure.find(folder), newest_checkpoint(folder))

    @classmethod
    def read(cls, folder: str | Path) -> Signs:
        """Those of a folder that can be read."""
        return cls(Attempt.read(folder), Progress.read(folder), Failure.read(folder), newest_checkpoint(folder))

    @property
    def number(self) -> int | None:
        """The newest attempt, counted from 1."""
        return max((note.attempt for note in (self.attempt, self.progress, self.failure) if note), default=None)

    @property
    def seen(self) -> float | None:
        """The last sign of life, in seconds since the epoch."""
        times = [self.progress.updated] if self.progress else []
        return max([*times, self.attempt.started] if self.attempt else times, default=None)

    @property
    def failed(self) -> bool:
        """Whether the newest attempt failed: an older one's failure says nothing any more."""
        return self.failure is not None and self.failure.attempt == self.number

    def alive(self, now: float, silence: float = SILENCE) -> bool:
        """Whether the newest attempt is at work: it has reported lately, or has just started, and did not fail.

        `silence`: seconds without a sign of life that are too many, also by a clock that is fast.
        """
        return self.seen is not None and abs(now - self.seen) < silence and not self.failed

    @property
    def where(self) -> str:
        """Host and job of the newest attempt."""
        note = self.failure if self.failed else self.attempt
        if note is None:
            return ""
        return note.host if note.job is None else f"{note.host}, job {note.job}"


@dataclass(frozen=True)
class RunStatus:
    """One run: what became of it, and the signs that say so."""

    run: str
    state: State
    signs: Signs = Signs()
    log: str = ""
    """What the training prints."""
    job: QueuedJob | None = None
    """The job of SLURM that the run waits for."""


@dataclass
class Wanted:
    """What some targets need, each once: runs, teachers before their students, and files of evaluations."""

    runs: dict[str, None] = field(default_factory=dict)
    evaluations: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """How far some targets are at one moment."""

    runs: Sequence[RunStatus]
    evaluated: int
    """Evaluations of runs that exist, of those that the targets read."""
    evaluations: int
    now: float
    """Seconds since the epoch."""

    def of(self, state: State) -> list[RunStatus]:
        """The runs in a state."""
        return [run for run in self.runs if run.state == state]


def wanted(targets: Targets, names: Sequence[str]) -> Wanted:
    """The runs that targets need, with those that they start or learn from; a name may be a run's id.

    Otherwise names and errors are those of `ssar.cost.plan.requested`; no name: what the configuration asks for.
    """
    grid, found = targets.grid, Wanted()

    def add(run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            if run_id not in found.runs:
                add(grid.runs[run_id].config.upstream.values())
                found.runs[run_id] = None

    for name in expanded(targets, names):
        if name in grid.runs:
            add([name])
            continue
        if "/" not in name:
            raise UserError(
                f"`{name}` is neither a run of this configuration nor a target such as tables/ltg/table1.tex"
            )
        paper, sources = declared(targets, name)
        for source in sources:
            runs = [run.id for run in grid.select(paper.name, source.variant, source.setting)]
            match source.role:
                case "architecture":
                    continue  # of networks that nobody trained
                case "scores":
                    files = grid.results(paper.name, source)
                    runs = [run_id for file in files for run_id in Path(file).parent.name.split("+")]
                case "metrics" | "predictions":
                    found.evaluations |= dict.fromkeys(grid.results(paper.name, source))
            add(runs)
    return found


def status(
    targets: Targets, names: Sequence[str], queue: Mapping[str, QueuedJob] | None = None, now: float | None = None
) -> Status:
    """How far the named targets are; `queue`: jobs of SLURM by run, `now`: seconds since the epoch.

    Raises UserError for a name that is neither a run nor a declared target.
    """
    now = time.time() if now is None else now
    paths, needed = targets.paths, wanted(targets, names)
    results = Path(targets.project.results)
    # one listing instead of a look at each of a thousand folders, most of which are not there yet
    begun = _folders(results / "state")
    there = _folders(results / "runs")
    runs = []
    for run_id in needed.runs:
        log = paths.log(targets.run(run_id).config.options.stage, run_id)
        signs = Signs.read(paths.state(run_id)) if run_id in begun else Signs()
        runs.append(_judged(run_id, signs, log, run_id in there and finished(paths, run_id), (queue or {}), now))
    files = [file for file in needed.evaluations if Path(file).parents[1].name in there]
    return Status(runs, sum(Path(file).is_file() for file in files), len(needed.evaluations), now)


def finished(paths: Paths, run_id: str) -> bool:
    """Whether a run has been trained to its end."""
    return all(Path(paths.run(run_id, name)).is_file() for name in FINISHED)


def _folders(parent: Path) -> set[str]:
    try:
        return set(os.listdir(parent))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _judged(run_id: str, signs: Signs, log: str, done: bool, queue: Mapping[str, QueuedJob], now: float) -> RunStatus:
    job = queue.get(run_id)
    if done and signs.progress is None:  # a finished run removes its progress, and keeps the note of its attempt
        return RunStatus(run_id, "done", signs, log)
    if signs.alive(now):
        return RunStatus(run_id, "running", signs, log, job)
    if done:
        return RunStatus(run_id, "done", signs, log)
    begun_there = signs.attempt is not None and job is not None and signs.attempt.job == job.id
    if job is not None and not (begun_there and job.state == "RUNNING"):  # else it has begun, and fallen silent
        return RunStatus(run_id, "queued", signs, log, job)
    if signs.failed:
        return RunStatus(run_id, "failed", signs, log, job)
    begun = signs.progress is not None or signs.checkpoint is not None
    return RunStatus(run_id, "interrupted" if begun else "missing", signs, log, job)
