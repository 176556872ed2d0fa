"""How much better one network is than another in every class, sorted (CMPL Figure 1, TimeBalance Figure 1)."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ssar.errors import UserError
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.marks import plain
from ssar.reporting.figures.measured import of_same_classes, over_seeds, spread
from ssar.reporting.figures.style import CHARACTERS, COLUMN, LABEL, OKABE_ITO, PAGE, words

PITCH = 0.118
"""Inches that the name of a class takes beside the next one."""

MARGIN = 0.6
"""Inches beside the bars."""

LISTED = 10
"""Classes that are named at either end where there is no room for all."""


class Gaps(NamedTuple):
    """The classes that are drawn, the largest difference first."""

    names: list[str]
    mean: np.ndarray  # (M,) percentage points
    std: np.ndarray  # (M,) over the seeds; NaN for one seed
    ahead: tuple[int, int, int]  # among all classes: how many favour the first, the second, none
    absent: int  # classes without test videos
    seeds: int


def gaps(inputs: FigureInputs) -> Gaps:
    """First less second variant, seed by seed. Raises UserError where no class has test videos."""
    spec = inputs.spec
    first, second = of_same_classes(inputs, *spec.variants)
    mean, std = over_seeds(first.values - second.values)
    known = np.flatnonzero(np.isfinite(mean))
    if not len(known):
        raise UserError(f"no class of the setting {spec.setting} has test videos: there is nothing to compare")
    order = known[np.argsort(-mean[known], kind="stable")]
    better = int((mean[known] > 0).sum()), int((mean[known] < 0).sum()), int((mean[known] == 0).sum())
    if spec.extreme is not None and len(order) > 2 * spec.extreme:
        order = np.concatenate([order[: spec.extreme], order[-spec.extreme :]])
    names = [words(first.names[number], 40) for number in order]
    return Gaps(names, mean[order], std[order], better, len(mean) - len(known), len(first.values))


def draw(inputs: FigureInputs) -> Figure:
    """A bar for each class: in one column of the paper where all names fit, else over the page."""
    found = gaps(inputs)
    count = len(found.names)
    room = [int((width - MARGIN) / PITCH) for width in (COLUMN, PAGE)]
    named = count <= room[1]
    below = max(map(len, found.names)) / CHARACTERS if named else len(_ends(found)) * LABEL
    figure = Figure(figsize=(COLUMN if count <= room[0] else PAGE, 2.2 + below), layout="constrained")
    axes = figure.subplots()
    first, second = inputs.spec.names.values()
    up = found.mean >= 0
    places = np.arange(count)
    for side, colour in ((up, OKABE_ITO[0]), (~up, OKABE_ITO[1])):
        axes.bar(places[side], found.mean[side], 0.8 if named else 1.0, color=colour, linewidth=0)
    if found.seeds > 1:
        axes.errorbar(places, found.mean, found.std, fmt="none", ecolor="#444444", elinewidth=0.6 if named else 0.3)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xlim(-0.8, count - 0.2)
    axes.set_ylabel(f"{first} − {second}\nin percentage points")
    plain(axes)
    if named:
        axes.set_xticks(places, found.names, rotation=90)
    else:
        axes.set_xticks([])
    if count < sum(found.ahead):
        axes.axvline(count / 2 - 0.5, color="black", linewidth=0.5, linestyle=":")
    axes.set_xlabel("\n".join([_classes(inputs, found), *([] if named else _ends(found))]))
    axes.set_title("\n".join(_title(found, first, second)))
    return figure


def _title(found: Gaps, first: str, second: str) -> list[str]:
    ahead, behind, equal = found.ahead
    counts = f"{first} is better in {ahead} classes, {second} in {behind}" + (f", equal in {equal}" if equal else "")
    return [counts, spread(found.seeds)]


def _classes(inputs: FigureInputs, found: Gaps) -> str:
    """Which classes are drawn."""
    total = sum(found.ahead)
    extreme = inputs.spec.extreme
    text = f"{total} classes, sorted" if len(found.names) == total else f"the {extreme} extreme classes of either end"
    if len(found.names) < total:
        text += f", of {total}"
    return text + (f"; {found.absent} without test videos left out" if found.absent else "")


def _ends(found: Gaps) -> list[str]:
    """The extreme classes as lines below the bars."""
    texts = [f"{name}\u00a0{value:+.1f}".replace("-", "−") for name, value in zip(found.names, found.mean, strict=True)]
    ends = {"left": texts[:LISTED], "right": texts[-LISTED:]}
    return [
        line
        for side, listed in ends.items()
        for line in textwrap.wrap(f"At the {side} end: {', '.join(listed)}.", int(CHARACTERS * PAGE))
    ]
