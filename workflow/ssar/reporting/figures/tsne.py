"""t-SNE of the test videos' features, one panel for each variant (LTG Figure 5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from ssar.errors import UserError
from ssar.evaluation.predictions import Predictions, read_predictions
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.style import GREY, OKABE_ITO, PAGE, bare, words

LEGEND = 3
"""Columns of the legend below each panel."""

MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")


class Look(NamedTuple):
    """How the points of a class are drawn."""

    colour: str
    marker: str


def looks(count: int) -> list[Look]:
    """Colour and shape of each class: classes that share a colour differ in shape."""
    colours = OKABE_ITO[:-1]  # black would outweigh the others
    return [Look(colours[i % len(colours)], MARKERS[i // len(colours) % len(MARKERS)]) for i in range(count)]


def neighbour_accuracy(features: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Leave-one-out k-NN accuracy in percent by cosine: features (N, C), labels (N,).

    A tie between classes goes to the lower number. At most N - 1 neighbours vote.
    """
    k = min(k, len(labels) - 1)
    finder = NearestNeighbors(n_neighbors=k, metric="cosine").fit(features)
    votes = labels[finder.kneighbors(return_distance=False)]  # without the point itself
    winners = [np.bincount(line).argmax() for line in votes]
    return 100 * float(np.mean(winners == labels))


def separation(features: np.ndarray, labels: np.ndarray, k: int) -> str:
    """The numbers below a panel, measured on the features themselves, not on their drawing."""
    text = f"{min(k, len(labels) - 1)}-NN accuracy {neighbour_accuracy(features, labels, k):.1f} %"
    if 1 < len(np.unique(labels)) < len(labels):
        text += f", silhouette {silhouette_score(features, labels, metric='cosine'):.2f}"
    return text


def embed(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Features (N, C) on the plane, (N, 2), from a PCA start."""
    fitting = min(perplexity, (len(features) - 1) / 3)
    points: np.ndarray = TSNE(perplexity=fitting, init="pca", random_state=seed).fit_transform(features)
    return points


def draw(inputs: FigureInputs) -> Figure:
    """Panels side by side over the page, the same videos and the same classes in colour in each."""
    spec = inputs.spec
    found = {variant: read_predictions(inputs.first(variant, "predictions")) for variant in spec.variants}
    first = next(iter(found.values()))
    _check(inputs, found)
    rng = np.random.default_rng(spec.seed)
    points = np.sort(rng.permutation(len(first.labels))[: spec.points])
    coloured = np.sort(rng.permutation(np.unique(first.labels))[: spec.classes])
    side = PAGE / max(len(found), 2)
    lines = -(-len(coloured) // (LEGEND * len(found)))
    heights = [side, 0.16 * lines]
    figure = Figure(figsize=(side * len(found), sum(heights) + 0.3), layout="constrained")
    grid = figure.add_gridspec(2, len(found), height_ratios=heights)
    for place, (variant, predictions) in enumerate(found.items()):
        axes = figure.add_subplot(grid[0, place])
        features, labels = predictions.features[points].astype(np.float32), predictions.labels[points]
        _scatter(axes, embed(features, spec.perplexity, spec.seed), labels, coloured)
        axes.set_title(spec.names[variant])
        axes.set_xlabel(separation(features, labels, spec.neighbours))
    _legend(
        figure.add_subplot(grid[1, :]), [words(first.classes[label], 40) for label in coloured], LEGEND * len(found)
    )
    return figure


def _check(inputs: FigureInputs, found: dict[str, Predictions]) -> None:
    first = next(iter(found.values()))
    if len(first.labels) < 4:
        raise UserError(f"t-SNE needs at least 4 test videos, {inputs.split} has {len(first.labels)}")
    for variant, predictions in found.items():
        if not np.array_equal(predictions.paths, first.paths):
            raise UserError(
                f"{inputs.first(variant, 'predictions')} is of other test videos than those it is compared with"
            )


def _scatter(axes: Axes, plane: np.ndarray, labels: np.ndarray, coloured: np.ndarray) -> None:
    others = ~np.isin(labels, coloured)
    size = float(np.clip(4000 / len(labels), 3, 16))
    axes.scatter(plane[others, 0], plane[others, 1], s=size / 2, c=GREY, linewidths=0)
    for label, look in zip(coloured, looks(len(coloured)), strict=True):
        x, y = plane[labels == label].T
        axes.scatter(x, y, s=size, c=look.colour, marker=look.marker, linewidths=0)
    bare(axes)
    axes.set_box_aspect(1)


def _legend(axes: Axes, names: list[str], columns: int) -> None:
    """Axes with nothing in them but what each class looks like."""
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=4, markeredgewidth=0, label=name)
        for name, look in zip(names, looks(len(names)), strict=True)
    ]
    axes.legend(
        handles=handles, loc="center", ncols=columns, frameon=False, handletextpad=0.1, columnspacing=1.0, borderpad=0
    )
    axes.axis("off")
