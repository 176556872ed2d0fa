"""results/claims/<paper>.md and .csv: a paper's claims with their verdicts."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ssar.files import write_text
from ssar.reporting.claims.evaluate import LEVEL, RESAMPLES, VERDICTS, Line, evaluate

if TYPE_CHECKING:
    from ssar.targets import Targets

COLUMNS = (
    "claim",
    "form",
    "comparison",
    "setting",
    "measured_on",
    "measure",
    "effect",
    "low",
    "high",
    "level",
    "seeds",
    "videos",
    "published",
    "verdict",
    "overall",
    "runs",
    "says",
    "source",
    "remarks",
)
DECIMALS = 6
"""Of the csv's numbers: fewer than machines differ in."""

SEED = 0


def write_claims(targets: Targets, paper: str, out: Path, resamples: int = RESAMPLES, seed: int = SEED) -> None:
    """Write `out` (.md) and the .csv beside it. Raises UserError for an unknown paper and what `evaluate` refuses."""
    declared = targets.planned(paper)
    lines = evaluate(
        declared, lambda source: targets.grid.results(paper, source), targets.grid.setting, resamples, seed
    )
    note = targets.project.note
    write_text(out.with_suffix(".csv"), tidy(lines))
    write_text(out, markdown(lines, declared.declared.title, note, resamples, seed))


def tidy(lines: Sequence[Line]) -> str:
    """A line for each comparison; what is not known is empty, never 0.

    Effects are in points of percent, shares of them with `relative`, gains of points for each point of `grows_with`,
    similarities or 10^9 operations. `runs` are separated by spaces, `remarks` by semicolons; `overall` is the claim's.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow(
            {
                "claim": line.claim,
                "form": line.spec.form,
                "comparison": line.comparison,
                "setting": line.setting,
                "measured_on": line.measured_on,
                "measure": line.spec.measure,
                "effect": _plain(line.effect),
                "low": _plain(line.low),
                "high": _plain(line.high),
                "level": None if line.low is None else f"{100 * LEVEL:g}",
                "seeds": line.seeds,
                "videos": line.videos,
                "published": _plain(line.published),
                "verdict": line.verdict,
                "overall": line.overall,
                "runs": " ".join(line.runs),
                "says": line.spec.says,
                "source": line.spec.source,
                "remarks": "; ".join(line.remarks),
            }
        )
    return file.getvalue()


def _plain(value: float | None) -> str:
    # + 0.0, so that no rounded number is -0.0
    return "" if value is None else repr(round(value, DECIMALS) + 0.0)


def markdown(lines: Sequence[Line], title: str, note: str | None, resamples: int, seed: int) -> str:
    """How many claims have which verdict, a row for each claim with one below it for each comparison, and notes."""
    claims = [list(group) for _, group in groupby(lines, key=lambda line: line.claim)]
    counts = Counter(claim[0].overall for claim in claims)
    total = "1 claim" if len(claims) == 1 else f"{len(claims)} claims"
    head = f"# Claims of {title}\n\n{total}: {', '.join(f'{counts[verdict]} {verdict}' for verdict in VERDICTS)}.\n"
    rows = [
        ("claim", "verdict", f"our effect [{100 * LEVEL:g} % interval]", "published effect", "where"),
        ("---", "---", "---:", "---:", "---"),
    ]
    for claim in claims:
        first = claim[0]
        there = sum(bool(line.measured_on) for line in claim)
        part = f", {there} of {len(claim)} comparisons" if 0 < there < len(claim) else ""
        rows.append((first.spec.says, f"**{first.overall}**{part}", "", "", first.spec.source))
        rows += [_row(line) for line in claim]
    body = "\n".join(f"| {' | '.join(_escape(text) for text in row)} |" for row in rows)
    below = "\n".join(f"- {text}" for text in _notes(lines, note, resamples, seed))
    return f"{head}\n{body}\n\n{below}\n"


def _row(line: Line) -> tuple[str, str, str, str, str]:
    place = line.setting
    if line.measured_on not in ("", line.setting):
        place += f", here {line.measured_on}"
    remarks = f" ({'; '.join(line.remarks)})" if line.remarks else ""
    effect = "-" if line.effect is None else _number(line.effect, line)
    if line.low is not None and line.high is not None:
        effect += f" [{_number(line.low, line)}, {_number(line.high, line)}]"
    printed = "-" if line.published is None else _published(line.published, line)
    return f"↳ {line.comparison}; {place}", f"{line.verdict}{remarks}", effect, printed, ""


def _number(value: float, line: Line) -> str:
    decimals = 2 if line.spec.form == "grows_with" or line.spec.measure in ("similarity", "gflops") else 1
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def _published(value: float, line: Line) -> str:
    """With the decimals of the paper, at least those of ours."""
    return f"{value:+.2f}" if round(value, 1) != round(value, 2) else _number(value, line)


def _notes(lines: Sequence[Line], note: str | None, resamples: int, seed: int) -> Iterator[str]:
    """The sentences below the table, those that its lines call for."""
    if note:
        yield note
    substitutes = {f"{line.measured_on} for {line.setting}": None for line in lines if line.measured_on}
    pairs = [pair for pair in substitutes if len(set(pair.split(" for "))) > 1]
    if pairs:
        told = "" if note else ", not comparable with the published effects"
        yield f"Substitutes: {'; '.join(pairs)}{told}."
    yield (
        "Effects are differences in points of percent, the first side minus the second; of a claim on robustness, what "
        "the other side loses under the condition minus what the first one loses (where relative, in percent of the "
        "accuracy without it; with training videos, the gap between training and test); of a claim that a gain grows "
        "with an accuracy, points of gain for each point."
    )
    if any(line.low is not None for line in lines):
        yield (
            f"Intervals: paired hierarchical bootstrap, {resamples:,} resamples, seed {seed}: videos are drawn with "
            "replacement, the same ones for all runs, and the mean over the seeds, which are paired across variants, "
            "from Student's t with as many degrees of freedom as there are seeds but one."
        )
    yield (
        "A comparison is confirmed where its whole interval lies where the claim says, refuted where it lies "
        "elsewhere, else undecided. A claim is confirmed if all its comparisons are and refuted if any is; to refute "
        f"it, one of k needs an interval of 1 - {1 - LEVEL:.2g} / k."
    )
    if any(line.seeds == 1 for line in lines):
        yield (
            "One seed: the spread between trainings is unknown, so the verdict is at most undecided, and the interval, "
            "over videos alone, is too short."
        )
    if any(line.seeds == 2 for line in lines):
        yield "Two seeds: with one degree of freedom intervals are long, and only large differences are decided."
    if any(line.published is None for line in lines):
        yield "-: the paper prints no effect, or nothing measures it."


def _escape(text: str) -> str:
    return text.replace("|", r"\|")
