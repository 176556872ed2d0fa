"""The status of runs as text: counts first, then what needs attention, in columns of at most 100 characters."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ssar.progress import clock
from ssar.status import STATES, RunStatus, State, Status

WIDTH = 100
WRAPPER = textwrap.TextWrapper(WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 8, break_on_hyphens=False)
COUNTED: tuple[State, ...] = ("done", "running", "queued", "failed", "interrupted", "missing")
BRIEF: tuple[State, ...] = ("missing", "done")
"""States that are only counted unless all runs are asked for."""


class Column(NamedTuple):
    """A column: its heading, and the text of a run at a time in seconds since the epoch."""

    head: str
    text: Callable[[RunStatus, float], str]
    right: bool = True


def overview(status: Status, every: bool = False) -> str:
    """The page; `every`: with the runs that are done or missing, too."""
    counts = [f"{len(status.of(state))} {state}" for state in COUNTED if status.of(state)]
    parts = [f"{len(status.runs)} run{_s(len(status.runs))}" + (f": {', '.join(counts)}" if counts else "")]
    if status.evaluations:
        parts[0] += f"\n{status.evaluations} evaluation{_s(status.evaluations)}: {status.evaluated} done"
    for state in STATES:
        runs = status.of(state)
        if runs and (every or state not in BRIEF):
            parts.append("\n".join([state, *_table(COLUMNS[state], runs, status.now)]))
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[Column], runs: Sequence[RunStatus], now: float) -> Iterator[str]:
    """The heading and a line for each run, under which its remarks are indented."""
    rows = [[column.text(run, now) for column in columns] for run in runs]
    widths = [max(map(len, cells)) for cells in zip([column.head for column in columns], *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        return ("  " + "  ".join(padded)).rstrip()

    if len(columns) > 1:
        yield line([column.head for column in columns])
    for run, cells in zip(runs, rows, strict=True):
        yield line(cells)
        for remark in _remarks(run):
            yield from WRAPPER.wrap(remark)
        if run.state == "failed":
            yield f"{WRAPPER.initial_indent}log: {run.log}"  # in one piece, to be copied


def _remarks(run: RunStatus) -> Iterator[str]:
    signs = run.signs
    failure = signs.failure
    if signs.failed and failure is not None:
        reason = (failure.reason.strip() or "no reason was written").splitlines()[0]
        yield reason if run.state == "failed" else f"failed before: {reason}"
    if run.state == "interrupted" and run.job is not None:
        yield f"SLURM still has its job {run.job.id} as {run.job.state}: it is silent, or about to start again"
    if run.state == "running":
        phase = signs.progress.phase if signs.progress else "starting"
        newest = "no checkpoint yet" if signs.checkpoint is None else f"checkpoint at {signs.checkpoint}"
        yield ", ".join(filter(None, (phase, signs.where, f"attempt {signs.number}", newest)))


# --- cells ----------------------------------------------------------------------------------------


def ago(seconds: float) -> str:
    """A time that has passed, in its largest unit: 5 s, 12 min, 3 h, 2 days."""
    seconds = max(seconds, 0.0)
    for size, unit in ((86400.0, "day"), (3600.0, "h"), (60.0, "min")):
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{_s(count) if unit == 'day' else ''} ago"
    return f"{seconds:.0f} s ago"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _step(run: RunStatus, now: float) -> str:
    failure, progress = run.signs.failure, run.signs.progress
    if run.signs.failed and failure is not None and failure.step is not None:
        return f"{failure.step}/{progress.steps}" if progress else str(failure.step)
    return f"{progress.step}/{progress.steps}" if progress else ""


def _percent(run: RunStatus, now: float) -> str:
    progress = run.signs.progress
    return f"{100 * progress.step // progress.steps} %" if progress and progress.steps else ""


def _left(run: RunStatus, now: float) -> str:
    progress = run.signs.progress
    if progress is None or progress.seconds_left is None:
        return ""
    return clock(max(progress.seconds_left - (now - progress.updated), 0.0))


def _speed(run: RunStatus, now: float) -> str:
    progress = run.signs.progress
    return f"{progress.clips_per_second:.1f}" if progress and progress.clips_per_second is not None else ""


def _when(run: RunStatus, now: float) -> str:
    return ago(now - run.signs.failure.when) if run.signs.failure else ""


def _seen(run: RunStatus, now: float) -> str:
    return ago(now - run.signs.seen) if run.signs.seen is not None else ""


def _attempt(run: RunStatus, now: float) -> str:
    return str(run.signs.number or "")


def _checkpoint(run: RunStatus, now: float) -> str:
    return "" if run.signs.checkpoint is None else str(run.signs.checkpoint)


def _where(run: RunStatus, now: float) -> str:
    return run.signs.where


def _queue(run: RunStatus, now: float) -> str:
    if run.job is None:
        return ""
    return run.job.state if run.job.reason in ("", "None") else f"{run.job.state}, {run.job.reason}"


RUN = Column("run", lambda run, now: run.run, right=False)
STEP, ATTEMPT = Column("step", _step), Column("attempt", _attempt)
CHECKPOINT, WHERE = Column("checkpoint", _checkpoint), Column("where", _where, right=False)

COLUMNS: dict[State, Sequence[Column]] = {
    "failed": (RUN, STEP, ATTEMPT, Column("when", _when), WHERE),
    "running": (RUN, STEP, Column("%", _percent), Column("left", _left), Column("clips/s", _speed)),
    "queued": (
        RUN,
        CHECKPOINT,
        Column("job", lambda run, now: run.job.id if run.job else ""),
        Column("state", _queue, right=False),
    ),
    "interrupted": (RUN, STEP, CHECKPOINT, ATTEMPT, Column("last seen", _seen)),
    "missing": (RUN,),
    "done": (RUN,),
}
