"""What networks predict for actions that look like another one (ACL+MTL Figures 1 and 6)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ssar.errors import UserError
from ssar.evaluation.metrics import confusion
from ssar.evaluation.predictions import Predictions, read_predictions
from ssar.reporting.figures.frames import middle
from ssar.reporting.figures.inputs import FigureInputs, ShownVideo
from ssar.reporting.figures.marks import SEED, SEEDS, legend_above, plain
from ssar.reporting.figures.style import CHARACTERS, COLUMN, GREY, LABEL, OKABE_ITO, bare, words
from ssar.views import Views

FRAME = 1.0
"""Inches of the frame's height."""

BAR = 0.155
"""Inches from bar to bar."""

TRUE, ALIKE, OTHER = OKABE_ITO[2], OKABE_ITO[1], GREY

HATCH = "////"

EDGE: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5}

MEAN: dict[str, Any] = {
    "linestyle": "",
    "marker": "D",
    "color": OKABE_ITO[3],
    "markeredgecolor": "black",
    "markersize": 4,
    "markeredgewidth": 0.6,
}
"""How the mean over a class's test videos is drawn."""


class Pair(NamedTuple):
    """A class and the one that it looks like, as numbers."""

    shown: int
    alike: int


class Panel(NamedTuple):
    """What one variant says of one video."""

    classes: np.ndarray  # (top,) the classes with a bar
    video: np.ndarray  # (seeds, top) percent: the video's probabilities
    mean: np.ndarray  # (top,) percent: mean over the true class's test videos and the seeds


def probabilities(predictions: Predictions) -> np.ndarray:
    """Scores (N, K) as probabilities: the softmax of a mean of logits; a mean of probabilities as it is."""
    scores = predictions.scores.astype(np.float64)
    if Views.from_slug(predictions.views).average == "probs":
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def read(inputs: FigureInputs) -> dict[str, list[Predictions]]:
    """The predictions of every seed of each variant. Raises UserError where they are of different videos."""
    found = {v: [read_predictions(path) for path in inputs.seeds(v, "predictions")] for v in inputs.spec.variants}
    first = found[inputs.spec.variants[0]][0]
    for variant, seeds in found.items():
        for path, one in zip(inputs.seeds(variant, "predictions"), seeds, strict=True):
            if not np.array_equal(one.paths, first.paths) or one.classes != first.classes:
                raise UserError(f"{path} is of other test videos or classes than those it is compared with")
    return found


def pairs(inputs: FigureInputs, seeds: list[Predictions]) -> tuple[list[Pair], list[str]]:
    """The pairs that are shown, and the classes that the dataset lacks of those that the figure names.

    Where it lacks one, or test videos of one, the pairs are as many that the networks `seeds` confuse most: by the
    share of the first class's test videos that go to the second, no class shown twice.
    Raises UserError where no video is ever confused.
    """
    first = seeds[0]
    with_videos = {first.classes[label] for label in first.labels}
    wanted = inputs.spec.pairs
    absent = [name for name in dict.fromkeys(name for pair in wanted for name in pair) if name not in with_videos]
    if not absent:
        return [Pair(*map(first.classes.index, pair)) for pair in wanted], []
    counts = np.sum([confusion(one.scores, one.labels) for one in seeds], axis=0)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    alike = shares.argmax(axis=1)
    worst = np.argsort(-shares.max(axis=1), kind="stable")[: len(wanted)]
    found = [Pair(int(shown), int(alike[shown])) for shown in worst if shares[shown].max() > 0]
    if not found:
        raise UserError(f"{inputs.spec.variants[0]} takes no test video for another class: nothing looks alike to it")
    return found, absent


def draw_video(inputs: FigureInputs, predictions: Predictions, label: int) -> int:
    """Number of the test video of a class that is shown: drawn by the figure's seed, whatever is predicted."""
    candidates = np.flatnonzero(predictions.labels == label)
    candidates = candidates[np.argsort(predictions.paths[candidates], kind="stable")]
    rng = np.random.default_rng((inputs.spec.seed, label))
    return int(rng.choice(candidates))


def panels(inputs: FigureInputs, found: dict[str, list[Predictions]], pair: Pair, video: int) -> dict[str, Panel]:
    """The same classes for every variant: both of the pair, and those that come next in all variants' mean."""
    rows = {variant: np.array([probabilities(one) for one in seeds]) for variant, seeds in found.items()}
    overall = np.mean([values[:, video].mean(axis=0) for values in rows.values()], axis=0)
    rest = [number for number in np.argsort(-overall, kind="stable") if number not in pair]
    classes = np.array([*pair, *rest[: max(inputs.spec.top - 2, 0)]])
    same = found[inputs.spec.variants[0]][0].labels == pair.shown
    return {
        variant: Panel(
            classes, 100 * values[:, video][:, classes], 100 * values[:, same][..., classes].mean(axis=(0, 1))
        )
        for variant, values in rows.items()
    }


def draw(inputs: FigureInputs) -> Figure:
    """A block for each pair, side by side: a frame of the video, and below it a panel of bars for each variant."""
    spec = inputs.spec
    found = read(inputs)
    first = found[spec.variants[0]]
    shown, absent = pairs(inputs, first)
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    panel = spec.top * BAR + 0.4
    height = rows * (FRAME + 3 * LABEL + len(spec.variants) * panel) + 3 * LABEL
    figure = Figure(figsize=(columns * COLUMN, height), layout="constrained")
    title = "{}, most often taken for {}" if absent else "{}, which looks like {}"
    for block, pair in zip(figure.subfigures(rows, columns, squeeze=False).flat, shown, strict=False):
        video = draw_video(inputs, first[0], pair.shown)
        ratios = [FRAME, *(panel - 0.2 for _ in found)]
        above, *below = block.subplots(len(ratios), 1, height_ratios=ratios)
        above.imshow(middle(inputs, _listed(inputs, str(first[0].paths[video]))))
        bare(above)
        names = [words(first[0].classes[number], 40) for number in pair]
        block.suptitle(textwrap.fill(title.format(*names), 50), fontsize="medium")
        _panels(below, inputs, panels(inputs, found, pair, video), first[0].classes)
    name = next(iter(spec.names.values()))
    stand_in = f"What {name} confuses most; the dataset lacks {', '.join(absent)}." if absent else None
    handles = _handles(max(map(len, found.values())))
    legend_above(
        figure, handles, columns, textwrap.fill(stand_in, int(CHARACTERS * columns * COLUMN)) if stand_in else None
    )
    return figure


def _panels(grid: Iterable[Axes], inputs: FigureInputs, found: dict[str, Panel], classes: list[str]) -> None:
    """A panel of bars for each variant, on one scale."""
    top = max(max(panel.video.max(), panel.mean.max()) for panel in found.values())
    for axes, (variant, panel) in zip(grid, found.items(), strict=True):
        places = np.arange(len(panel.classes))
        colours = [TRUE, ALIKE, *[OTHER] * (len(places) - 2)]
        bars = axes.barh(places, panel.video.mean(axis=0), 0.75, color=colours, **EDGE)
        bars[1].set_hatch(HATCH)
        if len(panel.video) > 1:
            for seed in panel.video:
                axes.plot(seed, places, **SEED, gid=SEEDS)
        axes.plot(panel.mean, places, **MEAN, gid="mean")
        axes.set_yticks(places, [words(classes[number], 40) for number in panel.classes])
        axes.invert_yaxis()
        axes.set_xlim(0, min(1.08 * top, 102))
        axes.set_title(inputs.spec.names[variant], loc="left")
        axes.set_xlabel("probability in %")
        axes.label_outer()
        plain(axes)


def _handles(seeds: int) -> list[Artist]:
    handles: list[Artist] = [
        Patch(facecolor=TRUE, label="the video's class", **EDGE),
        Patch(facecolor=ALIKE, label="the other class of the pair", hatch=HATCH, **EDGE),
        Patch(facecolor=OTHER, label="further classes", **EDGE),
        Line2D([], [], **MEAN, label="mean over all test videos of the video's class"),
    ]
    if seeds > 1:
        handles.insert(3, Line2D([], [], **SEED, label=f"one seed; bars: mean of {seeds} seeds"))
    return handles


def _listed(inputs: FigureInputs, path: str) -> ShownVideo:
    """A test video as the split lists it. Raises UserError for one that it does not list."""
    videos = inputs.listed("test")
    if path not in videos:
        raise UserError(f"{inputs.split} does not list {path}, which the predictions have: predict anew")
    return videos[path]
