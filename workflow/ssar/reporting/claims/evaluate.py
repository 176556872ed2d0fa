"""From a paper's claims and its runs to a verdict on each comparison."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ssar.errors import UserError
from ssar.reporting.claims.bootstrap import estimate
from ssar.reporting.claims.comparisons import Comparison, comparisons
from ssar.reporting.claims.outcomes import Reader, UnmeasuredError, operations
from ssar.reporting.claims.published import published
from ssar.reporting.claims.spec import ClaimSpec, Term
from ssar.reporting.claims.strata import Run, resampling
from ssar.reporting.sources import Source

if TYPE_CHECKING:
    from ssar.experiments import Paper
    from ssar.project import Setting

Verdict = Literal["confirmed", "refuted", "undecided", "not run"]
VERDICTS: tuple[Verdict, ...] = ("confirmed", "refuted", "undecided", "not run")

LEVEL = 0.95
RESAMPLES = 4000
LEAST_RESAMPLES = 2000
"""With fewer the ends of an interval wobble by more than some 5 % of its length."""

Results = Callable[[Source], Sequence[str | Path]]
"""The files of a source, one per seed in the seeds' order; none for a setting that is not at this scale."""

Files = Mapping[Term, Sequence[Path]]


@dataclass(frozen=True)
class Line:
    """One comparison of a claim. Numbers that are not known are None; without an effect the remarks say why."""

    claim: str
    spec: ClaimSpec = field(repr=False)
    comparison: str
    setting: str  # the paper's
    measured_on: str  # what stands for it at this scale; empty for nothing
    published: float | None
    effect: float | None = None
    low: float | None = None  # None for an exact number
    high: float | None = None
    seeds: int | None = None
    videos: int | None = None
    runs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    verdict: Verdict = "not run"
    overall: Verdict = "not run"  # of the whole claim


Interval = Callable[[float], tuple[float, float]]
"""Of a confidence level."""


def evaluate(
    paper: Paper,
    results: Results,
    setting: Callable[[str], Setting | None],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Line]:
    """A line for each comparison of each claim, in their order.

    `setting` tells what stands for a paper's setting at this scale. A file that is not there is a missing seed. The
    numbers of a claim depend on its name and `seed`, not on the other claims. Raises UserError for damaged files, for
    runs that cannot be compared, and for a claim whose table does not have its values.
    """
    if resamples < LEAST_RESAMPLES:
        raise UserError(f"{resamples} resamples are too few for an interval: at least {LEAST_RESAMPLES}")
    read = Reader()
    lines = []
    for name, claim in paper.claims.items():
        measured = []
        for comparison, printed in zip(comparisons(claim), published(paper, claim), strict=True):
            stands = setting(comparison.setting)
            line = Line(
                claim=name,
                spec=claim,
                comparison=comparison.text,
                setting=comparison.setting,
                measured_on="" if stands is None else str(stands),
                published=printed,
            )
            rng = _generator(seed, paper.name, name, line)
            try:
                measured.append(_measured(line, comparison, results, read, resamples, rng))
            except UnmeasuredError as reason:
                measured.append((replace(line, remarks=(str(reason),)), None))
        lines += judged(measured)
    return lines


def _generator(seed: int, paper: str, claim: str, line: Line) -> np.random.Generator:
    """The same for two settings of the paper that one thing stands for here: the same runs have the same interval."""
    text = "\n".join((paper, claim, line.measured_on, line.comparison))
    return np.random.default_rng([seed, *hashlib.sha256(text.encode()).digest()])


# --- what the runs say --------------------------------------------------------------------------


def _measured(
    line: Line,
    comparison: Comparison,
    results: Results,
    read: Reader,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[Line, Interval | None]:
    """The line with its effect, and the interval of the effect if it is not exact. Raises UnmeasuredError."""
    files = _files(line.spec, comparison, results)
    if _pointless(comparison, files):
        raise UnmeasuredError("both sides are the same runs: the settings that they differ in are not at this scale")
    if line.spec.role == "architecture":
        return _exact(line, comparison, files), None
    present, remarks = _present(files)
    runs = {
        term: [Run(paths[place], read(paths[place], line.spec.measure, term.teacher)) for place in present]
        for term, paths in files.items()
    }
    strata, effect = resampling(line.spec, comparison, runs)
    found = estimate(strata, effect, resamples, rng, comparison.reach)
    line = replace(
        line,
        effect=found.effect,
        seeds=found.seeds,
        videos=sum(stratum.values.shape[-1] for stratum in strata),
        runs=tuple(dict.fromkeys(_run(paths[place]) for place in present for paths in files.values())),
        remarks=(*remarks, *_cautions(comparison)),
    )
    return line, found.interval


def _files(claim: ClaimSpec, comparison: Comparison, results: Results) -> Files:
    files = {term: [Path(path) for path in results(claim.reads(term, comparison.setting))] for term in comparison.terms}
    if not all(files.values()):
        raise UnmeasuredError("the setting is not at this scale")
    if len({len(paths) for paths in files.values()}) > 1:
        counts = ", ".join(f"{len(paths)} of {term}" for term, paths in files.items())
        raise UserError(f"{comparison.text} in {comparison.setting}: seeds cannot be paired, there are {counts}")
    return files


def _pointless(comparison: Comparison, files: Files) -> bool:
    """Whether all that is compared cancels, since an overlay has made the runs of different variants the same."""
    same = {term: (term.teacher, tuple(paths)) for term, paths in files.items()}
    sums = [comparison.weights] if comparison.shares is None else [share.loss for share in comparison.shares]
    merged = []
    for weights in sums:
        found: Counter[tuple[str, tuple[Path, ...]]] = Counter()
        for term, weight in weights.items():
            found[same[term]] += weight
        merged.append({key: weight for key, weight in found.items() if weight})
    return merged[0] == merged[1] if len(merged) > 1 else not merged[0]


def _exact(line: Line, comparison: Comparison, files: Files) -> Line:
    values = {term: operations(paths[0]) for term, paths in files.items()}
    known = {term: value for term, value in values.items() if value is not None}
    if len(known) < len(values):
        raise UnmeasuredError(f"no {_name(files)} of {', '.join(str(term) for term in values if term not in known)}")
    effect = round(float(comparison.effect(known)), 9)  # to single operations
    return replace(line, effect=effect, runs=tuple(dict.fromkeys(_run(paths[0]) for paths in files.values())))


def _present(files: Files) -> tuple[list[int], tuple[str, ...]]:
    """The places of the seeds whose files are all there, and what there is to say of the others."""
    wanted = len(next(iter(files.values())))
    there = {term: [path.is_file() for path in paths] for term, paths in files.items()}
    present = [place for place in range(wanted) if all(found[place] for found in there.values())]
    gaps = ", ".join(f"{term} {found.count(False)}" for term, found in there.items() if not all(found))
    if not present:
        raise UnmeasuredError(f"{_name(files)} missing, of {wanted} seeds: {gaps}")
    return present, (f"{len(present)} of {wanted} seeds, missing: {gaps}",) if gaps else ()


def _cautions(comparison: Comparison) -> tuple[str, ...]:
    if comparison.against in comparison.weights:
        return (f"{comparison.against} is on both axes: chance alone makes the gain fall or rise with it",)
    return ()


def _name(files: Files) -> str:
    return next(iter(files.values()))[0].name


def _run(path: Path) -> str:
    """The name of the run that a file belongs to: its predictions lie in a folder of the run's."""
    return path.parent.parent.name if path.name == "predictions.npz" else path.parent.name


# --- verdicts -----------------------------------------------------------------------------------


def judged(measured: Sequence[tuple[Line, Interval | None]]) -> list[Line]:
    """The lines of one claim with their verdicts and the claim's.

    A claim is refuted by any of its k comparisons, which chance does the more easily the larger k is: to refute, the
    interval of level 1 - (1 - LEVEL) / k must speak against it. To confirm a claim all must be confirmed, so that the
    level LEVEL serves for each (an intersection-union test).
    """
    # several settings that one stands for at this scale are one comparison
    different = {(line.measured_on, line.comparison) for line, _ in measured if line.effect is not None}
    strict = 1 - (1 - LEVEL) / max(len(different), 1)
    lines = [_judge(line, interval, strict) for line, interval in measured]
    # a smaller scale has some of the paper's settings, and its verdict is on these
    there = [line for line in lines if line.measured_on] or lines
    overall = combined(line.verdict for line in there)
    return [replace(line, overall=overall) for line in lines]


def _judge(line: Line, interval: Interval | None, strict: float) -> Line:
    if line.effect is None:
        return line
    if interval is None:
        exact = (line.effect, line.effect)
        return replace(line, verdict=verdict(line.spec, exact, exact))
    usual, strictest = interval(LEVEL), interval(strict)
    line = replace(line, low=usual[0], high=usual[1])
    if line.seeds == 1:
        remark = "one seed: the spread between trainings is unknown, the interval is over videos alone"
        return replace(line, verdict="undecided", remarks=(*line.remarks, remark))
    line = replace(line, verdict=verdict(line.spec, usual, strictest))
    if line.verdict == "undecided" and verdict(line.spec, usual, usual) == "refuted":
        remark = f"speaks against the claim at {100 * LEVEL:g} %, but not at {100 * strict:.4g} %"
        line = replace(line, remarks=(*line.remarks, f"{remark}, which one of several comparisons must"))
    return line


def verdict(claim: ClaimSpec, usual: tuple[float, float], strict: tuple[float, float]) -> Verdict:
    """Of an effect with its intervals: the usual one must lie where the claim says to confirm it, the strict one
    elsewhere to refute it."""
    if claim.within is not None:
        if -claim.within < usual[0] and usual[1] < claim.within:
            return "confirmed"
        return "refuted" if strict[0] > claim.within or strict[1] < -claim.within else "undecided"
    if usual[0] > claim.by:
        return "confirmed"
    return "refuted" if strict[1] < claim.by else "undecided"


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """Of a claim that must hold in each of its comparisons: any that is refuted refutes it, else any that is not run or
    undecided leaves it so."""
    found = set(verdicts)
    order: tuple[Verdict, ...] = ("refuted", "not run", "undecided")
    return next((verdict for verdict in order if verdict in found), "confirmed")
