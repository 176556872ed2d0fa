"""Top-1 accuracy of variants as bars, beside the published values (LTG Figure 1, TimeBalance Figure 5)."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.marks import accuracy_handles, draw_accuracy, legend_above, plain
from ssar.reporting.figures.measured import top1
from ssar.reporting.figures.style import CHARACTERS, COLUMN, OKABE_ITO, PAGE

WIDTH = 0.62
"""Of a bar, where two bars are 1 apart."""

BAR = OKABE_ITO[5]

MOST = 5
"""Bars whose names and values have room in one column of the paper."""


def draw(inputs: FigureInputs) -> Figure:
    """A bar of the seeds' mean for each variant, below it the value, the published one in parentheses, and the name."""
    spec = inputs.spec
    width = COLUMN if len(spec.variants) <= MOST else PAGE
    figure = Figure(figsize=(width, 2.4), layout="constrained")
    axes = figure.subplots()
    room = int(CHARACTERS * (width - 0.5) / len(spec.variants))
    texts, seeds = [], 1
    for place, (variant, name) in enumerate(spec.names.items()):
        summary = draw_accuracy(axes, place, top1(inputs, variant), spec.printed[place], WIDTH / 2)
        axes.bar(place, summary.mean, WIDTH, color=BAR, edgecolor="black", linewidth=0.5)
        value = f"{summary.mean:.1f}" + ("" if summary.std is None else f" ± {summary.std:.1f}")
        published = spec.printed[place]
        quoted = [f"({published:g})" if published is not None else ""] if spec.published else []
        texts.append("\n".join([value, *quoted, textwrap.fill(name, room, break_long_words=False)]))
        seeds = max(seeds, summary.n)
    axes.set_xlim(-0.55, len(spec.variants) - 0.45)
    axes.set_xticks(range(len(spec.variants)), texts)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.set_ylabel("Top-1 accuracy in %")
    plain(axes)
    legend_above(
        figure, accuracy_handles(Patch(facecolor=BAR, edgecolor="black", linewidth=0.5), seeds, spec.published_in)
    )
    return figure
