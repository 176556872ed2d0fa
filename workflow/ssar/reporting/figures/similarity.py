"""Temporal similarity matrices of both teachers for the extreme videos (TimeBalance Figure 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ssar.config import parse_run
from ssar.errors import UserError
from ssar.evaluation.scores import Similarity, read_similarity
from ssar.reporting.figures.frames import middle
from ssar.reporting.figures.inputs import FigureInputs, ShownVideo
from ssar.reporting.figures.style import COLUMN, LABEL, bare, words

COLOURS = "cividis"
"""Ordered by lightness, and the same to colour-blind readers."""

WRITTEN = 5
"""Matrices of at most so many clips have their numbers in them."""


class Extreme(NamedTuple):
    """A video with one of the highest or lowest scores."""

    video: ShownVideo
    matrices: np.ndarray  # (2, n, n): of the invariant and the distinctive teacher
    score: float


def extremes(inputs: FigureInputs) -> tuple[list[Extreme], int]:
    """The videos of the highest score, the highest first, then those of the lowest, the lowest last; and of how many.

    Only unlabelled videos in which the clips lie side by side count, where there are any: in shorter ones the clips
    share frames, and resemble each other for that alone. Raises UserError for scores of other videos.
    """
    path = inputs.first(inputs.spec.variants[0], "scores")
    found = read_similarity(path)
    videos = inputs.listed("unlabelled")
    paths = found.paths.tolist()
    lines = [number for number, name in enumerate(paths) if name in videos]
    if not lines:
        raise UserError(f"{path} has no unlabelled video of {inputs.split}: compute the scores anew")
    lines = [number for number in lines if videos[paths[number]].frames >= _span(found)] or lines
    # one order for equal scores, whatever the file's
    ranked = sorted(lines, key=lambda number: (-found.projection_score[number], paths[number]))
    count = min(inputs.spec.videos, max(len(ranked) // 2, 1))
    places = ranked[:count] + ranked[max(len(ranked) - count, count) :]
    shown = [
        Extreme(videos[paths[number]], found.projection[number], float(found.projection_score[number]))
        for number in places
    ]
    return shown, len(lines)


def _span(found: Similarity) -> int:
    """Frames that the clips take side by side."""
    clip = parse_run(found.configs[0]).clip
    return found.projection.shape[-1] * clip.frames * clip.stride


def draw(inputs: FigureInputs) -> Figure:
    """A row for each video: its middle frame and both teachers' matrices, one scale for all."""
    shown, count = extremes(inputs)
    side = (COLUMN - 3 * LABEL) / 3.1
    figure = Figure(figsize=(COLUMN, len(shown) * (side + 3 * LABEL) + 4 * LABEL), layout="constrained")
    grid = figure.subplots(len(shown), 3, squeeze=False)
    low = float(np.floor(10 * min(one.matrices.min() for one in shown)) / 10)
    for row, one in zip(grid, shown, strict=True):
        row[0].imshow(middle(inputs, one.video))
        row[0].set_title(words(one.video.name, 18))
        row[0].set_xlabel(f"s = {one.score:.2f}")
        bare(row[0])
        for axes, matrix, name in zip(row[1:], one.matrices, ("$C_I$, invariant", "$C_D$, distinctive"), strict=True):
            picture = _matrix(axes, matrix, low)
            axes.set_title(name)
    bar = figure.colorbar(picture, ax=grid, orientation="horizontal", shrink=0.6, aspect=30)
    bar.set_label(f"cosine similarity of two clips; highest and lowest s of {count} videos")
    bar.outline.set_linewidth(0.5)
    return figure


def _matrix(axes: Axes, matrix: np.ndarray, low: float) -> AxesImage:
    """Similarities (n, n) in colour, with their numbers where there is room."""
    picture = axes.imshow(matrix, cmap=COLOURS, vmin=low, vmax=1)
    count = len(matrix)
    if count <= WRITTEN:
        for (i, j), value in np.ndenumerate(matrix):
            dark = value < (1 + low) / 2
            axes.text(
                j,
                i,
                f"{value:.2f}".replace("0.", ".").replace("-", "−"),
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    clips = [f"{number + 1}" for number in range(count)]
    axes.set_xticks(range(count), clips)
    axes.set_yticks(range(count), clips)
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    return picture
