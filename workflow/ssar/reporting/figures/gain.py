"""Where a method gains against the accuracy of another network, class by class (CMPL Figure 7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssar.errors import UserError
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.marks import legend_above, plain
from ssar.reporting.figures.measured import of_same_classes, over_seeds, spread
from ssar.reporting.figures.style import COLUMN, GREY, OKABE_ITO

CLASS, BIN, LINE = "classes", "bins", "line"
"""Names (gid) of the marks in the drawing."""


MARK = "#666666"


class Points(NamedTuple):
    """The classes with test videos, and their bins."""

    accuracy: np.ndarray  # (K,) percent: of the third variant, mean over the seeds
    gain: np.ndarray  # (K,) percentage points: first less second variant, mean over the seeds
    bins: np.ndarray  # (K,) number of each class's bin
    at: np.ndarray  # (B,) mean accuracy in each bin that has classes
    mean: np.ndarray  # (B,) mean gain in it
    std: np.ndarray  # (B,) of that mean over the seeds; NaN for one seed
    seeds: int


def points(inputs: FigureInputs) -> Points:
    """Bins are of the mean accuracy, so that a class is in the same bin for all seeds; the last one includes 100."""
    spec = inputs.spec
    ours, baseline, auxiliary = of_same_classes(inputs, *spec.variants)
    accuracy, _ = over_seeds(auxiliary.values)
    by_seed = ours.values - baseline.values
    gain, _ = over_seeds(by_seed)
    known = np.isfinite(accuracy) & np.isfinite(gain)
    if not known.any():
        raise UserError(f"no class of the setting {spec.setting} has test videos: there is nothing to compare")
    accuracy, gain, by_seed = accuracy[known], gain[known], by_seed[:, known]
    # the margin is for accuracies a rounding error below the edge of their bin
    bins = np.minimum(accuracy / spec.bin + 1e-9, np.ceil(100 / spec.bin) - 1).astype(int)
    filled = np.unique(bins)
    means = np.stack([np.nanmean(by_seed[:, bins == number], axis=1) for number in filled], axis=1)
    mean, std = over_seeds(means)
    at = np.array([accuracy[bins == number].mean() for number in filled])
    return Points(accuracy, gain, bins, at, mean, std, len(by_seed))


def line(found: Points) -> tuple[float, float, float] | None:
    """Slope and height at 0 of the least squares line through the classes, and r; None where one is not defined."""
    if len(found.gain) < 2 or np.ptp(found.accuracy) == 0:
        return None
    slope, height = np.polyfit(found.accuracy, found.gain, 1)
    r = np.corrcoef(found.accuracy, found.gain)[0, 1] if np.ptp(found.gain) > 0 else 0.0
    return float(slope), float(height), float(r)


def draw(inputs: FigureInputs) -> Figure:
    """Classes as small dots, bins as large ones, and the line through the classes."""
    spec = inputs.spec
    found = points(inputs)
    figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.plot(found.accuracy, found.gain, "x", color=MARK, markersize=3, markeredgewidth=0.7, gid=CLASS, zorder=4)
    axes.errorbar(
        found.at, found.mean, found.std, fmt="o", color=OKABE_ITO[3], markersize=4.5, elinewidth=0.8, capsize=2, gid=BIN
    )
    handles = [
        Line2D([], [], color=MARK, marker="x", markersize=3, linestyle="", label="class"),
        Line2D(
            [],
            [],
            color=OKABE_ITO[3],
            marker="o",
            markersize=4.5,
            linestyle="",
            label=f"bins of {spec.bin:g} %: {spread(found.seeds)}",
        ),
    ]
    if fitted := line(found):
        slope, height, r = fitted
        ends = np.array([found.accuracy.min(), found.accuracy.max()])
        axes.plot(ends, slope * ends + height, color=OKABE_ITO[0], linewidth=1.2, gid=LINE)
        text = f"least squares over the classes, r = {_signed(r)}, n = {len(found.gain)}"
        handles.append(Line2D([], [], color=OKABE_ITO[0], linewidth=1.2, label=text))
    else:
        axes.set_title(f"r is not defined, n = {len(found.gain)}")
    ours, baseline, auxiliary = spec.names.values()
    axes.set_xlabel(f"accuracy of {auxiliary} in %")
    axes.set_ylabel(f"{ours} − {baseline}\nin percentage points")
    plain(axes)
    legend_above(figure, handles)
    return figure


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
