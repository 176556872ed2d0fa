"""How much of the accuracy is lost when a clip has fewer different frames (CMPL Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from ssar.conditions import RESAMPLINGS
from ssar.config import ClipConfig
from ssar.data.sampling import uniform_indices
from ssar.errors import UserError
from ssar.reporting.figures.frames import frames
from ssar.reporting.figures.inputs import FigureInputs, ShownVideo
from ssar.reporting.figures.marks import looks, plain
from ssar.reporting.figures.measured import over_seeds, run_config, spread, top1
from ssar.reporting.figures.style import COLUMN, LABEL, bare, tight, words

STRIDES = {"": 1, **RESAMPLINGS}
"""Frames between two that are different, by condition."""

SHOWN = 8
"""Frames of a clip that are shown."""

ROWS = {1: "all", **{stride: f"every {stride}{'nd' if stride == 2 else 'th'}" for stride in RESAMPLINGS.values()}}
"""What a row of frames is called."""

HELD = 0.3
"""Opacity of a frame that is the one before it again."""


def drops(inputs: FigureInputs, variant: str) -> np.ndarray:
    """Share of the accuracy that each re-sampling costs, in percent: (seeds, conditions); NaN for a seed without any.

    Raises UserError where no seed has an accuracy to lose.
    """
    accuracy = np.array([top1(inputs, variant, condition) for condition in STRIDES], dtype=float).T
    whole = accuracy[:, :1]
    if not whole.any():
        raise UserError(f"variant {variant} has no test video right with all frames: there is no accuracy to lose")
    return np.divide(100 * (whole - accuracy), whole, out=np.full_like(accuracy, np.nan), where=whole > 0)


def draw(inputs: FigureInputs) -> Figure:
    """The frames of test videos above, the curves below."""
    lost = {name: drops(inputs, variant) for variant, name in inputs.spec.names.items()}
    config = run_config(inputs.first(inputs.spec.variants[0], "metrics"))
    videos = inputs.test_videos(min_frames=1)
    clips = [_clip(inputs, video, config.clip) for video in videos]
    side = (COLUMN - 4 * LABEL) / clips[0].shape[0]
    shape = max(clip.shape[1] / clip.shape[2] for clip in clips)
    heights = [*(len(STRIDES) * side * shape + 1.5 * LABEL for _ in clips), 2.0]
    figure = tight(COLUMN, sum(heights))
    blocks = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for block, video, clip in zip(blocks, videos, clips, strict=False):
        _show(block, words(video.name, 40), clip)
    _curves(blocks[-1].subplots(), lost, config.clip.frames)
    return figure


def _clip(inputs: FigureInputs, video: ShownVideo, clip: ClipConfig) -> np.ndarray:
    """The first frames of the second of three clips, which is that in the middle: uint8 (T, H, W, 3)."""
    indices = uniform_indices(video.frames, clip.frames, clip.stride, 3, short=clip.short_videos)[1]
    return frames(inputs, video, indices[:SHOWN].tolist())


def _show(block: SubFigure, name: str, clip: np.ndarray) -> None:
    """A row for each stride; a frame that only holds the one before it is pale."""
    grid = block.subplots(len(STRIDES), len(clip), squeeze=False)
    for row, stride in zip(grid, STRIDES.values(), strict=True):
        for place, axes in enumerate(row):
            axes.imshow(clip[place // stride * stride], alpha=1.0 if place % stride == 0 else HELD)
            bare(axes)
        row[0].set_ylabel(ROWS[stride], rotation=0, ha="right", va="center")
    block.suptitle(f"{name}, re-sampled; pale: the frame before it, held", fontsize="medium")


def _curves(axes: Axes, lost: Mapping[str, np.ndarray], count: int) -> None:
    """The drops of each variant, (seeds, conditions), while the `count` frames of a clip become fewer."""
    places = np.arange(len(STRIDES))
    handles = []
    for (name, values), look in zip(lost.items(), looks(len(lost)), strict=True):
        mean, std = over_seeds(values)
        axes.errorbar(places, mean, std, capsize=2.5, elinewidth=0.8, gid=name, **look.line)
        handles.append(Line2D([], [], **look.line, label=name))
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xticks(places, [f"{-(-count // stride)}" for stride in STRIDES.values()])
    axes.set_xlabel(f"different frames among the {count} of a clip")
    axes.set_ylabel("accuracy drop\nin % of the accuracy")
    plain(axes)
    title = spread(max(map(len, lost.values())))
    axes.legend(handles=handles, frameon=False, handlelength=2.8, loc="best", title=title, alignment="left")
