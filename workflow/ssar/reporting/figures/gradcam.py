"""Grad-CAM of several networks on the same frames over time (LTG Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from captum.attr import LayerAttribution, LayerGradCam
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor, nn

from ssar.augment import Augmenter
from ssar.augment.views import centre
from ssar.config import RunConfig
from ssar.data.reader import open_video
from ssar.data.sampling import uniform_indices
from ssar.engine.weights import load_predictor
from ssar.errors import UserError
from ssar.reporting.figures.inputs import FigureInputs, ShownVideo
from ssar.reporting.figures.style import COLUMN, LABEL, bare, tight, words

COLOURS = "inferno"  # ordered by lightness, so that it reads without colour, too
OPACITY = 0.75

Network = tuple[RunConfig, nn.Module]


def load_networks(models: Iterable[Path]) -> list[Network]:
    """The networks in order. Raises UserError for one that does not see RGB: there is nothing to overlay."""
    networks = []
    for path in models:
        config, _, module = load_predictor(path)
        if config.options.test_modality != "rgb":
            raise UserError(f"{path} sees temporal gradients; Grad-CAM is drawn over RGB frames")
        networks.append((config, module))
    return networks


def decode(inputs: FigureInputs, video: ShownVideo, config: RunConfig) -> Tensor:
    """Uniform clips of a video: uint8 (moments, T, 3, S, S), the training's crop around the centre."""
    clip, weak = config.clip, config.augment.weak
    indices = uniform_indices(video.frames, clip.frames, clip.stride, inputs.spec.moments)
    reader = open_video(inputs.video_root / video.path, short_side=config.data.decode_short_side)
    try:
        frames = reader.frames(indices.reshape(-1).tolist())
    finally:
        reader.close()
    cut = centre(frames, weak.size, weak.short_side)
    return cut.reshape(inputs.spec.moments, clip.frames, *cut.shape[1:])


def attention(module: nn.Module, layer: str, clips: Tensor, label: int) -> Tensor:
    """Grad-CAM for a class: normalised clips (B, 3, T, H, W) to maps (B, T, H, W) in 0..1.

    One scale for all clips, so that moments can be compared; all zero where nothing speaks for the class.
    """
    modules = dict(module.named_modules())
    if layer not in modules:
        raise UserError(f"key `layer`: the network has no module `{layer}`; its parts: {', '.join(_parts(module))}")
    maps = LayerGradCam(module, modules[layer]).attribute(clips, target=label, relu_attributions=True)
    maps = LayerAttribution.interpolate(maps.detach(), tuple(clips.shape[2:]), "trilinear")[:, 0]
    peak = maps.max()
    return maps / peak if peak > 0 else maps


def _parts(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children()]


def overlay(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Heat (H, W) in 0..1 over the grey frame uint8 (H, W, 3): float (H, W, 3) in 0..1."""
    grey = frame.mean(axis=2, keepdims=True) / 255
    share = OPACITY * heat[..., None]
    mixed: np.ndarray = (1 - share) * grey + share * colormaps[COLOURS](heat)[..., :3]
    return mixed


def rows(inputs: FigureInputs, video: ShownVideo, networks: Iterable[Network]) -> list[np.ndarray]:
    """The frames of a video and, for each network, the same frames with its attention: (moments, H, W, 3) each."""
    result: list[np.ndarray] = []
    for config, module in networks:
        clips = decode(inputs, video, config)
        # later clips show a later frame of theirs, so that a video shorter than a clip is seen over time, too
        shown = np.linspace(0, clips.shape[1] - 1, len(clips)).round().astype(int)
        moments = np.arange(len(clips))
        frames = clips.permute(0, 1, 3, 4, 2).numpy()[moments, shown]
        if not result:
            result.append(frames / 255)
        heat = attention(module, inputs.spec.layer, Augmenter(config.augment).normalise(clips), video.label)
        chosen = heat.numpy()[moments, shown]
        result.append(np.stack([overlay(frame, one) for frame, one in zip(frames, chosen, strict=True)]))
    return result


def draw(inputs: FigureInputs) -> Figure:
    """In one column of the paper, a block for each video: its frames, then each network's attention."""
    networks = load_networks(inputs.first(variant, "model") for variant in inputs.spec.variants)
    videos = inputs.test_videos(min_frames=1)
    labels = ["RGB", *inputs.spec.names.values()]
    side = (COLUMN - LABEL) / inputs.spec.moments
    figure = tight(COLUMN, len(videos) * (len(labels) * side + LABEL))
    blocks = figure.subfigures(len(videos), 1, squeeze=False)[:, 0]
    for block, video in zip(blocks, videos, strict=True):
        grid = block.subplots(len(labels), inputs.spec.moments, squeeze=False)
        for line, pictures, label in zip(grid, rows(inputs, video, networks), labels, strict=True):
            for axes, picture in zip(line, pictures, strict=True):
                axes.imshow(picture)
                bare(axes)
            line[0].set_ylabel(label)
        block.suptitle(words(video.name, 40), fontsize="medium")
    return figure
