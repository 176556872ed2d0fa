"""Temporal gradients of test videos beside the frame (LTG Figure 3): a row for each video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ssar.data.temporal_gradient import temporal_gradient
from ssar.reporting.figures.frames import frames
from ssar.reporting.figures.inputs import FigureInputs, ShownVideo
from ssar.reporting.figures.style import COLUMN, LABEL, bare, tight, words


def pictures(inputs: FigureInputs, video: ShownVideo) -> list[np.ndarray]:
    """The middle frame and its gradients, each uint8 (H, W, 3)."""
    intervals = inputs.spec.intervals
    middle = (video.frames - 1 - max(intervals)) // 2
    first, *others = frames(inputs, video, [middle, *(middle + interval for interval in intervals)])
    return [first, *(temporal_gradient(first, later) for later in others)]


def heads(intervals: Sequence[int]) -> list[str]:
    """`RGB`, then each gradient with its interval, the shortest called fast and the longest slow."""
    names = {min(intervals): "Fast TG", max(intervals): "Slow TG"} if len(set(intervals)) > 1 else {}
    return ["RGB", *(f"{names.get(interval, 'TG')} (n = {interval})" for interval in intervals)]


def draw(inputs: FigureInputs) -> Figure:
    """A grid of pictures in one column of the paper."""
    videos = inputs.test_videos(min_frames=max(inputs.spec.intervals) + 1)
    rows = [pictures(inputs, video) for video in videos]
    shape = max(row[0].shape[0] / row[0].shape[1] for row in rows)
    titles = heads(inputs.spec.intervals)
    height = len(rows) * (COLUMN - 2 * LABEL) / len(titles) * shape + LABEL
    figure = tight(COLUMN, height)
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, row, video in zip(grid, rows, videos, strict=True):
        for axes, picture in zip(line, row, strict=True):
            axes.imshow(picture)
            bare(axes)
        line[0].set_ylabel(words(video.name, 13))
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    return figure
