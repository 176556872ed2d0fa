"""Top-1 accuracy against a number that the variants differ in (CMPL Figure 4)."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.marks import LOOKS, accuracy_handles, draw_accuracy, legend_above, plain
from ssar.reporting.figures.measured import top1
from ssar.reporting.figures.style import COLUMN


def draw(inputs: FigureInputs) -> Figure:
    """The seeds' means joined by a line, at the values of `x` themselves."""
    spec = inputs.spec
    figure = Figure(figsize=(COLUMN, 2.1), layout="constrained")
    axes = figure.subplots()
    apart = (spec.x[-1] - spec.x[0]) / 20 if len(spec.x) > 1 else 0.02
    found = [
        draw_accuracy(axes, x, top1(inputs, variant), published, apart)
        for x, variant, published in zip(spec.x, spec.variants, spec.printed, strict=True)
    ]
    look = LOOKS[0]
    axes.plot(spec.x, [one.mean for one in found], **look.line)
    axes.set_xticks(spec.x, [f"{x:g}" for x in spec.x])
    axes.set_xlabel(spec.x_label)
    axes.set_ylabel("Top-1 accuracy in %")
    axes.margins(y=0.12)
    plain(axes)
    mean = Line2D([], [], **look.line)
    legend_above(figure, accuracy_handles(mean, max(one.n for one in found), spec.published_in))
    return figure
