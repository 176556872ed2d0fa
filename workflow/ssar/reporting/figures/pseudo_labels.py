"""Pseudo-labels of networks in the course of the training (CMPL Figures 2 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssar.errors import UserError
from ssar.evaluation.pseudo_labels import Record, accuracy_on, correct_ratio, read_record
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.marks import legend_above, looks, plain
from ssar.reporting.figures.measured import over_seeds, run_config, spread
from ssar.reporting.figures.style import COLUMN


class Told(NamedTuple):
    """A run's record and the confidence that its training asks of a pseudo-label."""

    record: Record
    threshold: float


class Line(NamedTuple):
    """What one network did over the epochs."""

    name: str
    epochs: np.ndarray  # (S,)
    values: np.ndarray  # (seeds, S) percent; NaN where no video is chosen


def told(inputs: FigureInputs, variant: str) -> list[Told]:
    """One per seed. Raises UserError for files that are missing and for a method without a threshold."""
    paths = zip(inputs.seeds(variant, "record"), inputs.seeds(variant, "metrics"), strict=True)
    return [Told(read_record(record), _threshold(metrics)) for record, metrics in paths]


def _threshold(metrics: Path) -> float:
    options = run_config(metrics).options
    threshold = getattr(options, "threshold", None)
    if threshold is None:
        raise UserError(f"{metrics}: the run's method has no `threshold`, so none of its pseudo-labels is confident")
    return float(threshold)


def lines(inputs: FigureInputs) -> list[Line]:
    """The lines in order. Raises UserError for records that do not fit each other."""
    spec = inputs.spec
    runs = {variant: told(inputs, variant) for variant in dict.fromkeys(spec.variants)}
    found = []
    for variant, network, name in spec.lines:
        if spec.chosen_by is None:
            values = [correct_ratio(one.record, network, one.threshold) for one in runs[variant]]
        else:
            chooser, by, _ = spec.lines[spec.chosen_by - 1]
            pairs = zip(runs[variant], runs[chooser], strict=True)
            values = [accuracy_on(one.record, network, by, other.threshold, other.record) for one, other in pairs]
        epochs = _epochs(variant, [one.record for one in runs[variant]])
        found.append(Line(name, epochs, 100 * np.array(values)))
    return found


def _epochs(variant: str, records: Sequence[Record]) -> np.ndarray:
    """The epochs that all seeds were recorded at; the last one is where a seed's last step ended."""
    first = records[0].epochs
    for record in records:
        if record.epochs.shape != first.shape or not np.allclose(record.epochs, first, rtol=0.01):
            raise UserError(f"the seeds of {variant} were recorded at other epochs: give the runs one length")
    return first


def chosen(inputs: FigureInputs) -> np.ndarray:
    """The videos that the choosing network is confident of, in percent of the unlabelled ones: (seeds, S)."""
    variant, network, _ = inputs.spec.lines[inputs.spec.chosen_by - 1]
    shares = [one.record.confident(network, one.threshold).mean(axis=1) for one in told(inputs, variant)]
    return 100 * np.array(shares)


def draw(inputs: FigureInputs) -> Figure:
    """A line for each network: the mean over the seeds and a band of one standard deviation."""
    spec = inputs.spec
    figure = Figure(figsize=(COLUMN, 2.3), layout="constrained")
    axes = figure.subplots()
    found = lines(inputs)
    handles = []
    for line, look in zip(found, looks(len(found)), strict=True):
        mean, std = over_seeds(line.values)
        axes.plot(line.epochs, mean, gid=line.name, clip_on=False, **look.line)
        low, high = np.clip([mean - std, mean + std], 0, 100)  # of percentages
        axes.fill_between(line.epochs, low, high, color=look.colour, alpha=0.15, linewidth=0)
        handles.append(Line2D([], [], **look.line, label=line.name))
    # an axis without any value has no limits of its own
    axes.set_ylim(0, None if any(np.isfinite(line.values).any() for line in found) else 100)
    axes.set_xlim(0, 1.02 * max(line.epochs[-1] for line in found))  # also where no line has a value
    seeds = max(len(line.values) for line in found)
    axes.set_xlabel("epochs")
    if spec.chosen_by is None:
        axes.set_ylabel("confident and right labels,\n% of the unlabelled videos")
    else:
        share = chosen(inputs)
        name = spec.lines[spec.chosen_by - 1][2]
        axes.set_ylabel(f"accuracy in % on videos that\n{name} is sure of")
        axes.set_title(f"these are {share.min():.0f} to {share.max():.0f} % of the unlabelled videos")
    plain(axes)
    legend_above(figure, handles, title=spread(seeds))
    return figure
