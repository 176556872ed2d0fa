"""Which videos are drawn together in a comparison, and what its effect is in terms of their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssar.conditions import Condition
from ssar.errors import UserError
from ssar.reporting.claims.bootstrap import Effect, Stratum
from ssar.reporting.claims.comparisons import Comparison, total
from ssar.reporting.claims.outcomes import Outcomes, UnmeasuredError
from ssar.reporting.claims.spec import ClaimSpec, Term

LEAST_CLASSES = 3
"""Any two points are on a line."""

LEAST_TOP5 = 6
"""Among fewer classes nearly any answer is among the first five."""


@dataclass(frozen=True)
class Run:
    """What one run did with each video, and the file that says so."""

    path: Path
    outcomes: Outcomes


Runs = Mapping[Term, Sequence[Run]]
"""The runs of each term, one per seed in the same order."""


def resampling(claim: ClaimSpec, comparison: Comparison, runs: Runs) -> tuple[list[Stratum], Effect]:
    """The strata of a comparison, and its effect of their means.

    Test videos are one stratum. The labelled videos of the condition `training` are another one, of which each seed has
    its own draw. For a slope each class is a stratum.

    Raises UnmeasuredError where the dataset has nothing to measure it with, and UserError for runs on different videos.
    """
    parts: dict[tuple[Term, ...], Stratum] = {}
    for training in (False, True):
        terms = tuple(term for term in comparison.terms if Condition.parse(term.condition).training == training)
        if terms:
            chosen = {term: [_restricted(run, claim) for run in runs[term]] for term in terms}
            # only a dataset's test videos are the same for every draw of labels
            parts[terms] = _stratum(chosen, comparison, fixed=claim.role == "predictions" and not training)
    if comparison.against is not None:
        (terms, stratum) = next(iter(parts.items()))
        return _by_class(comparison, terms, stratum, runs[terms[0]][0].outcomes)
    if not comparison.linear:
        return list(parts.values()), lambda means: _effect(comparison, list(parts), means)
    # a sum of terms is summed video by video: there are far fewer patterns to draw
    summed = [
        replace(
            stratum,
            values=np.asarray(
                total({term: comparison.weights[term] for term in terms}, dict(zip(terms, stratum.values, strict=True)))
            )[None],
        )
        for terms, stratum in parts.items()
    ]
    return summed, lambda means: np.sum([mean[0] for mean in means], axis=0)


def _effect(comparison: Comparison, terms: Sequence[Sequence[Term]], means: Sequence[np.ndarray]) -> np.ndarray:
    """From the means of the terms of each stratum, (T, R): (R,)."""
    values = {
        term: row for group, mean in zip(terms, means, strict=True) for term, row in zip(group, mean, strict=True)
    }
    return np.asarray(comparison.effect(values))


def _restricted(run: Run, claim: ClaimSpec) -> Run:
    """The run with only the videos of the claim's classes, if it names any."""
    found = run.outcomes
    if claim.measure == "top5" and len(found.classes) < LEAST_TOP5:
        raise UnmeasuredError(f"Top-5 says nothing among {len(found.classes)} classes")
    if not claim.classes:
        return run
    absent = [name for name in claim.classes if name not in found.classes]
    if absent:
        raise UnmeasuredError(f"the dataset has no class {', '.join(absent)}")
    assert found.labels is not None
    chosen = np.isin(found.labels, [found.classes.index(name) for name in claim.classes])
    if not chosen.any():
        raise UnmeasuredError(f"no test video is of {', '.join(claim.classes)}")
    kept = replace(found, paths=found.paths[chosen], values=found.values[chosen], labels=found.labels[chosen])
    return replace(run, outcomes=kept)


def _stratum(runs: Runs, comparison: Comparison, fixed: bool) -> Stratum:
    """The outcomes of all terms, whose videos must be the same within a seed, and if `fixed` in all seeds."""
    seeds = list(zip(*runs.values(), strict=True))
    for seed in seeds:
        first = seeds[0][0] if fixed else seed[0]
        for run in seed:
            _check_same(first, run, comparison)
    sets = [seed[0].outcomes.paths for seed in seeds]
    if not min(len(paths) for paths in sets):
        raise UnmeasuredError("there are no videos to measure it on")
    if all(np.array_equal(paths, sets[0]) for paths in sets):
        return Stratum(np.array([[run.outcomes.values for run in line] for line in runs.values()]))
    union, where = np.unique(np.concatenate(sets), return_inverse=True)
    places = np.split(where, np.cumsum([len(paths) for paths in sets])[:-1])
    values = np.zeros((len(runs), len(seeds), len(union)))
    has = np.zeros(values.shape[1:], bool)
    for number, (seed, place) in enumerate(zip(seeds, places, strict=True)):
        has[number, place] = True
        for row, run in enumerate(seed):
            values[row, number, place] = run.outcomes.values
    return Stratum(values, has)


def _check_same(first: Run, other: Run, comparison: Comparison) -> None:
    """Raises UserError for two runs that did not see the same videos, classes and labels, in one order."""
    mine, its = first.outcomes, other.outcomes
    if not np.array_equal(mine.paths, its.paths):
        same = len(mine.paths) == len(its.paths) and set(mine.paths.tolist()) == set(its.paths.tolist())
        problem = "the same videos in another order" if same else "other videos"
    elif tuple(mine.classes) != tuple(its.classes):
        problem = "other classes"
    elif mine.labels is not None and its.labels is not None and not np.array_equal(mine.labels, its.labels):
        problem = "other labels of the same videos"
    else:
        return
    raise UserError(
        f"{comparison.text} in {comparison.setting}: {other.path} is of {problem} than {first.path}: make both anew "
        "from one index of the dataset"
    )


def _by_class(
    comparison: Comparison, terms: Sequence[Term], stratum: Stratum, outcomes: Outcomes
) -> tuple[list[Stratum], Effect]:
    """A stratum for each class that has videos, and the slope over them."""
    assert outcomes.labels is not None
    strata = [
        Stratum(stratum.values[:, :, outcomes.labels == label])
        for label in range(len(outcomes.classes))
        if (outcomes.labels == label).any()
    ]
    if len(strata) < LEAST_CLASSES:
        raise UnmeasuredError(f"a slope over {len(strata)} classes says nothing")
    row = list(terms).index(comparison.against) if comparison.against else 0
    if len({float(part.values[row].mean()) for part in strata}) == 1:
        raise UnmeasuredError(f"{comparison.against} is equally accurate in all classes")

    def effect(means: Sequence[np.ndarray]) -> np.ndarray:
        classes = np.stack(means)  # (K, T, R)
        return np.asarray(comparison.effect({term: classes[:, number] for number, term in enumerate(terms)}))

    return strata, effect
