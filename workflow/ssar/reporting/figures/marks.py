"""Marks that several kinds of figures share: a mean over seeds, its single seeds, and a published value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssar.errors import UserError
from ssar.reporting.figures.measured import spread
from ssar.reporting.figures.style import OKABE_ITO
from ssar.reporting.seeds import Summary, summarise

SPREAD, SEEDS, PUBLISHED = "spread", "seeds", "published"
"""Names (gid) of the marks in a drawing."""

SEED: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "color": "white",
    "markeredgecolor": "black",
    "markersize": 2.5,
    "markeredgewidth": 0.6,
}
"""How the value of one seed is drawn."""

PRINTED: dict[str, Any] = {
    "linestyle": "",
    "marker": "D",
    "color": "none",
    "markeredgecolor": OKABE_ITO[3],
    "markersize": 5,
    "markeredgewidth": 1.0,
}
"""How a published value is drawn."""


class Look(NamedTuple):
    """How a line is drawn, so that it is told apart without its colour."""

    colour: str
    marker: str
    dash: str

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib's arguments."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.dash,
            "linewidth": 1.2,
            "markersize": 4,
        }


LOOKS = tuple(
    Look(colour, marker, dash)
    for colour, marker, dash in zip(OKABE_ITO[:6], "osD^vP", ("-", "--", "-.", ":", "-", "--"), strict=True)
)


def looks(count: int) -> tuple[Look, ...]:
    """The looks of so many lines. Raises UserError for more than can be told apart."""
    if count > len(LOOKS):
        raise UserError(f"a figure tells {len(LOOKS)} lines apart, not {count}: name fewer `variants`")
    return LOOKS[:count]


def beside(x: float, count: int, width: float) -> np.ndarray:
    """Places of `count` dots around x, so that equal values do not hide each other."""
    return x + (np.arange(count) - (count - 1) / 2) * width / max(count, 2)


def draw_accuracy(axes: Axes, x: float, values: Sequence[float], published: float | None, width: float) -> Summary:
    """Error bar, single seeds and published value at `x`. At least one value. `width`: of the row of seeds."""
    summary = summarise(values)
    assert summary is not None
    if summary.std is not None:
        axes.errorbar(x, summary.mean, summary.std, color="black", elinewidth=0.8, capsize=2.5, gid=SPREAD, zorder=3)
        axes.plot(beside(x, len(values), width), values, **SEED, gid=SEEDS, zorder=4)
    if published is not None:
        axes.plot(x, published, **PRINTED, gid=PUBLISHED, zorder=5)
    return summary


def accuracy_handles(mean: Artist, seeds: int, published_in: str | None) -> list[Artist]:
    """Entries of the legend for what `draw_accuracy` draws, after the mark of the `mean`."""
    mean.set_label(spread(seeds))
    handles = [mean]
    if seeds > 1:
        handles.append(Line2D([], [], **SEED, label="one seed"))
    if published_in is not None:
        handles.append(Line2D([], [], **PRINTED, label=f"published ({published_in})"))
    return handles


def legend_above(figure: Figure, handles: Sequence[Artist], columns: int = 1, title: str | None = None) -> None:
    """A legend over the drawing, where it hides nothing."""
    figure.legend(
        handles=handles,
        title=title,
        alignment="left",
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        handlelength=2.8,
        borderpad=0,
        labelspacing=0.3,
        handletextpad=0.5,
        columnspacing=1.2,
    )


def plain(axes: Axes) -> None:
    """Axes without the frame's upper and right sides."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(width=0.5, length=2)
