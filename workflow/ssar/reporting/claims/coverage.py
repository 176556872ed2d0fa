"""How often the interval of `ssar.reporting.claims.bootstrap` contains the truth, by simulation.

`python -m ssar.reporting.claims.coverage` (in `workflow/`, minutes) prints the table of docs/claims.md: the lowest and
the highest coverage over all situations and numbers of videos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from ssar.reporting.claims.bootstrap import Stratum, estimate

LEVEL = 0.95
EASE = 1e-6
"""Keeps the logit of a video that is always or never right finite."""


class Situation(NamedTuple):
    """How two variants do on test videos: on the scale of logits, so that a hit's probability stays between 0 and 1."""

    ease: tuple[float, float]  # Beta distribution of the videos' chance of a hit
    gap: float  # between the variants
    draw: float = 0.0  # standard deviation of what a seed's draw of labels does to both variants
    own: float = 0.0  # of what a seed does to one variant
    noise: float = 0.0  # of what a seed does to one video
    common: float = 0.0  # the part of that noise which is the same in both variants


SITUATIONS: dict[str, Situation] = {
    "seeds hardly matter": Situation((1, 1), 0.0, draw=0.1, own=0.03, noise=1.0, common=0.5),
    "seeds matter": Situation((1, 1), 0.3, draw=0.2, own=0.1, noise=1.0, common=0.5),
    "seeds dominate": Situation((1, 1), 0.3, draw=0.3, own=0.5, noise=0.5, common=0.5),
    "seeds do not matter": Situation((0.5, 0.5), 0.3, noise=0.3, common=0.9),
    "rare hits": Situation((0.5, 5), 0.5, draw=0.2, own=0.2, noise=1.0, common=0.3),
}


def chances(
    case: Situation, ease: np.ndarray, seeds: tuple[int, ...], noise: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """The probability of a hit of both variants, (2, ...): `seeds` and `noise` are the shapes of what is drawn."""
    ease = ease.clip(EASE, 1 - EASE)
    logits = np.log(ease / (1 - ease)) + rng.normal(0, case.draw, seeds)
    shaken = np.sqrt(case.common) * rng.standard_normal(noise)
    shaken = shaken + np.sqrt(1 - case.common) * rng.standard_normal((2, *noise))
    gaps = np.array([case.gap, 0.0]).reshape(2, *(1 for _ in noise))
    return 1 / (1 + np.exp(-(logits + gaps + rng.normal(0, case.own, (2, *seeds)) + case.noise * shaken)))


def hits(case: Situation, seeds: int, videos: int, rng: np.random.Generator) -> np.ndarray:
    """Outcomes of both variants in percent, (2, S, V): seeds and videos drawn anew."""
    found = chances(case, rng.beta(*case.ease, videos), (seeds, 1), (seeds, videos), rng)
    return 100.0 * (rng.random(found.shape) < found)


@cache
def truth(case: Situation) -> float:
    """The mean difference over all seeds and videos, in points: from a million pairs of them, good to about 0.02."""
    rng, pairs = np.random.default_rng(1), 1_000_000
    found = chances(case, rng.beta(*case.ease, pairs), (pairs,), (pairs,), rng)
    return 100 * float((found[0] - found[1]).mean())


Interval = Callable[[np.ndarray, int, np.random.Generator], tuple[float, float]]
"""From outcomes (2, S, V), a number of resamples and a generator."""


def ours(outcomes: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """The interval of the claims."""
    stratum = Stratum((outcomes[0] - outcomes[1])[None])
    return estimate([stratum], lambda means: means[0][0], resamples, rng).interval(LEVEL)


def redrawn(fewer: int) -> Interval:
    """For comparison the percentiles where seeds, too, are drawn with replacement, `fewer` than there are."""

    def interval(outcomes: np.ndarray, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
        means = Stratum((outcomes[0] - outcomes[1])[None]).resampled(resamples, rng)[0].T  # (R, S)
        seeds = means.shape[1]
        draws = rng.multinomial(seeds - fewer, [1 / seeds] * seeds, size=resamples) / (seeds - fewer)
        low, high = np.quantile((means * draws).sum(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    return interval


class Covered(NamedTuple):
    """Of repeated intervals: how many hold the truth, how many lie above it, and their median length."""

    share: float
    above: float
    length: float


def coverage(
    case: Situation, interval: Interval, seeds: int, videos: int, repeats: int, resamples: int, rng: np.random.Generator
) -> Covered:
    """Of intervals from as many simulated experiments as `repeats`."""
    true = truth(case)
    found = np.array([interval(hits(case, seeds, videos, rng), resamples, rng) for _ in range(repeats)])
    held = (found[:, 0] <= true) & (true <= found[:, 1])
    return Covered(float(held.mean()), float((found[:, 0] > true).mean()), float(np.median(found[:, 1] - found[:, 0])))


METHODS: dict[str, Interval] = {
    "seeds drawn with replacement": redrawn(0),
    "n - 1 of n seeds drawn": redrawn(1),
    "Student's t": ours,
}


def table(seeds: Sequence[int], videos: Sequence[int], repeats: int, resamples: int) -> Iterator[str]:
    """Lines of Markdown: a row for each way, the lowest and highest coverage of all situations by number of seeds."""
    yield f"| interval | {' | '.join(f'{count} seeds' for count in seeds)} |"
    yield f"| --- |{' ---: |' * len(seeds)}"
    for name, interval in METHODS.items():
        cells = []
        for count in seeds:
            found = [
                100 * coverage(case, interval, count, number, repeats, resamples, np.random.default_rng(number)).share
                for case in SITUATIONS.values()
                for number in videos
            ]
            cells.append(f"{min(found):.1f} to {max(found):.1f} %")
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400, help="simulated experiments of each kind")
    parser.add_argument("--resamples", type=int, default=1000, help="of each experiment")
    given = parser.parse_args()
    for line in table((2, 3, 5), (160, 3783), given.repeats, given.resamples):
        print(line, flush=True)
