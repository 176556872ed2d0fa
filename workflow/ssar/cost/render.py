"""The forecast as Markdown: totals of each target, of each run, of the data, and what the numbers rest on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

GIB = 2**30


@dataclass(frozen=True)
class TargetLine:
    """One target: what it would cost alone now, and on top of the lines above it."""

    name: str
    runs: int
    alone: float  # hours
    new_runs: int
    new: float  # hours
    disk: float  # bytes, on top of the lines above


@dataclass(frozen=True)
class RunLine:
    """A shape of run: how many are missing and what one costs."""

    name: str
    runs: int
    steps: int
    seconds: float
    starting: float  # seconds of it
    waiting: float  # seconds of it
    tflops: float  # of one run's steps
    spread: float
    how: str


@dataclass(frozen=True)
class DataLine:
    """A dataset: what it brings on the network and the disk, and what its index and stores cost on the CPU."""

    name: str
    videos: int
    source: str
    download: float  # bytes
    disk: float  # bytes
    hours: float  # of one core


@dataclass(frozen=True)
class BudgetLine:
    """A target under a budget, in the order in which they are taken."""

    name: str
    new: float  # hours on top of those above
    sum: float
    fits: bool


@dataclass(frozen=True)
class Report:
    """Everything that the page says."""

    unit: str  # GPU h or core h
    targets: Sequence[TargetLine]
    runs: Sequence[RunLine]
    data: Sequence[DataLine]
    trainings: int
    predictions: int
    hours: float
    spread: float  # relative
    wall: float  # hours
    longest: float  # hours of the longest chain
    places: str  # e.g. 4 GPUs
    download: float
    disk: float
    scratch: float
    basis: Sequence[str]
    excluded: Sequence[str]
    budget: float | None = None
    budgeted: Sequence[BudgetLine] = field(default_factory=tuple)


def two(value: float) -> str:
    """Two significant digits, without an exponent: 0.014, 3.2, 150."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:.{max(0, 1 - math.floor(math.log10(abs(rounded))))}f}"


def gib(size: float) -> str:
    return two(size / GIB)


def render(report: Report) -> str:
    """The page."""
    parts = ["# What the requested targets cost", _summary(report), *_targets(report)]
    if report.budget is not None:
        parts += _budget(report)
    if report.runs:
        parts += _runs(report)
    if report.data:
        parts += _data(report)
    parts += ["## What this rests on", _list(report.basis), "## Not included", _list(report.excluded)]
    return "\n\n".join(parts) + "\n"


def _summary(report: Report) -> str:
    if not report.trainings and not report.predictions:
        return "Nothing is missing: all runs and predictions of the requested targets exist."
    spread = f" (± {100 * report.spread:.0f} %)" if report.spread else ""
    return (
        f"Missing: {report.trainings} trainings and {report.predictions} predictions. "
        f"**{two(report.hours)} {report.unit}**{spread}, **{two(report.wall)} h** of wall time on {report.places}, of "
        f"which the longest chain is {two(report.longest)} h; {gib(report.download)} GiB to download, "
        f"{gib(report.disk)} GiB of disk, {gib(report.scratch)} GiB more while runs train."
    )


def _targets(report: Report) -> list[str]:
    rows: list[Sequence[object]] = [
        (line.name, line.runs, two(line.alone), line.new_runs, two(line.new), gib(line.disk)) for line in report.targets
    ]
    total = sum(line.new_runs for line in report.targets), sum(line.new for line in report.targets)
    disk = gib(sum(line.disk for line in report.targets))
    rows.append(("**all, each run once**", "", "", total[0], f"**{two(total[1])}**", disk))
    heads = ("target", "runs missing", f"alone, {report.unit}", "new runs", f"new, {report.unit}", "new disk, GiB")
    return [
        "## Targets",
        "`alone` is what a target would cost now by itself; `new` is what it adds to the lines above it, since targets "
        "share runs.",
        _table(heads, rows),
    ]


def _budget(report: Report) -> list[str]:
    rows = [(line.name, two(line.new), two(line.sum), "yes" if line.fits else "no") for line in report.budgeted]
    heads = ("target", f"adds, {report.unit}", "sum", "fits")
    return [
        f"## What fits into {two(report.budget or 0)} {report.unit}",
        "The target that adds least is taken first, again and again. Another choice may fit more of them.",
        _table(heads, rows),
    ]


def _runs(report: Report) -> list[str]:
    rows = [
        (
            line.name,
            line.runs,
            line.steps or "",
            two(line.seconds / 3600),
            two(line.seconds * line.runs / 3600),
            f"{100 * line.starting / line.seconds:.0f} %",
            f"{100 * line.waiting / line.seconds:.0f} %",
            two(line.tflops) if line.tflops else "",
            f"± {100 * line.spread:.0f} %" if line.how != "stated" else "",
            line.how,
        )
        for line in report.runs
    ]
    heads = ("job", "missing", "steps", "h each", "h all", "starting", "decoding", "TFLOP each", "spread", "known by")
    return [
        "## Jobs",
        "Hours of wall time on the devices of one job. `decoding` is what reading adds to computing. `known by`: "
        "*probed* is this very step, *scaled* another one of its family by floating point operations, *stated* the "
        "user's word.",
        _table(heads, rows),
    ]


def _data(report: Report) -> list[str]:
    rows = [
        (line.name, line.videos, line.source, gib(line.download), gib(line.disk), two(line.hours))
        for line in report.data
    ]
    heads = ("dataset", "videos", "known by", "download, GiB", "disk, GiB", "decoding for index and stores, core h")
    return ["## Data", _table(heads, rows)]


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
