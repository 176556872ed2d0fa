"""Every registered method at a size that a test can train: its own yaml, a shrunken network, random clips."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssar.config import RunConfig, run_model
from ssar.layers import Layer, validate
from ssar.methods import method_class
from ssar.methods.base import Batch, Method, View
from ssar.yamlfile import read_yaml

METHODS_FOLDER = Path(__file__).resolve().parents[2] / "config" / "methods"
CLASSES = 3
TINY: dict[str, Any] = {
    "dataset": "random",
    "data": {},
    "labels": {"protocol": "per-class-1"},
    "clip": {"frames": 4, "stride": 2},
    "model": {"depth": 10, "width": 0.125, "dropout": 0.0},
}
VIT = {"dim": 16, "depth": 2, "heads": 2, "patch": 8, "size": 16, "frames": 4, "drop_path": 0.0, "pretrained": None}
SMALL: dict[str, dict[str, Any]] = {
    "ltg": {"options.projection": [16, 16, 16]},
    "acl_mtl": {"options.projection": [16, 8], "options.temporal_projection": [16, 8, 8], "options.bank_size": 8},
    "cmpl": {"options.auxiliary_frames": 8, "options.auxiliary_stride": 1},
}
"""Widths of heads at this size, by method, where the paper's are far too wide for it."""


def tiny_run(name: str, folder: Path = METHODS_FOLDER, variant: str | None = None, **changes: Any) -> RunConfig:
    """The method's yaml, one of its variants, a tiny network, then changes with dotted keys (`__` for the dot)."""
    file = folder / f"{name}.yaml"
    values = read_yaml(file)
    variants = values.pop("variants", {})
    layers = [Layer(values, file), Layer(TINY, file), Layer(SMALL.get(name, {}), file, dotted=True)]
    if values.get("model", {}).get("arch") == "timesformer":
        layers.append(Layer({"model": {"vit": VIT}}, file))
    if variant is not None:
        layers.append(Layer(variants[variant], file, dotted=True))
    layers.append(Layer({key.replace("__", "."): value for key, value in changes.items()}, file, dotted=True))
    return validate(run_model(name), layers, name)


def tiny_method(run: RunConfig, seed: int = 0) -> Method:
    """The method in training mode, with tiny files for the parts that other runs play in its loss."""
    torch.manual_seed(seed)
    method = method_class(run.method)(run, CLASSES)
    if set(run.options.roles) - {"init"}:
        from upstream import VIDEOS, upstream_for

        with tempfile.TemporaryDirectory() as folder:
            method.start(upstream_for(run, Path(folder)), VIDEOS)
    return method.train()


def tiny_batch(method: Method, labelled: int = 3, unlabelled: int = 3, side: int = 16) -> Batch:
    """Clips (B, 3, T, side, side) of every view, long after any warm-up; T as its window has it.

    Each class has its own mean, so that there is something to learn.
    """
    generator = torch.Generator().manual_seed(1)
    labels = {"labelled": torch.arange(labelled) % CLASSES, "unlabelled": torch.arange(unlabelled) % CLASSES}

    clip = method.config.clip

    def clips(view: View) -> Tensor:
        windows = method.config.options.windows(view.stream, clip.frames, clip.stride)
        frames = {"main": clip.frames} | {window.name: window.frames for window in windows}
        label = labels[view.stream]
        noise = torch.randn(len(label), 3, frames[view.clip], side, side, generator=generator)
        return noise + (label.float() - 1).view(-1, 1, 1, 1, 1)

    return Batch(
        clips={view: clips(view) for view in method.views},
        label=labels["labelled"] if method.config.options.needs_labelled else labels["labelled"][:0],
        truth=labels["unlabelled"] if any(view.stream == "unlabelled" for view in method.views) else None,
        epoch=1e9,
        video={stream: torch.arange(len(label)) for stream, label in labels.items()},
    )


def total(method: Method, batch: Batch) -> Tensor:
    """What the engine minimises."""
    terms, weights = method.loss(batch), method.weights(batch.epoch)
    assert terms.keys() == weights.keys()
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
