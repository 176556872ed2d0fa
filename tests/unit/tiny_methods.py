"""Every registered method at a size that a test can train: its own yaml, a shrunken network, random clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssar.config import RunConfig, run_model
from ssar.layers import Layer, validate
from ssar.methods import method_class
from ssar.methods.base import Batch, Method
from ssar.yamlfile import read_yaml

METHODS_FOLDER = Path(__file__).resolve().parents[2] / "config" / "methods"
CLASSES = 3
TINY: dict[str, Any] = {
    "dataset": "random",
    "data": {},
    "labels": {"protocol": "per-class-1"},
    "model": {"depth": 10, "width": 0.125, "dropout": 0.0},
}


def tiny_run(name: str, folder: Path = METHODS_FOLDER, variant: str | None = None, **changes: Any) -> RunConfig:
    """The method's yaml, one of its variants, a tiny network, then changes with dotted keys (`__` for the dot)."""
    file = folder / f"{name}.yaml"
    values = read_yaml(file)
    variants = values.pop("variants", {})
    layers = [Layer(values, file), Layer(TINY, file)]
    if variant is not None:
        layers.append(Layer(variants[variant], file, dotted=True))
    layers.append(Layer({key.replace("__", "."): value for key, value in changes.items()}, file, dotted=True))
    return validate(run_model(name), layers, name)


def tiny_method(run: RunConfig, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return method_class(run.method)(run, CLASSES).train()


def tiny_batch(method: Method, labelled: int = 3, unlabelled: int = 3, side: int = 16) -> Batch:
    """Clips (B, 3, 4, side, side) of every view, long after any warm-up.

    Each class has its own mean, so that there is something to learn.
    """
    generator = torch.Generator().manual_seed(1)
    labels = {"labelled": torch.arange(labelled) % CLASSES, "unlabelled": torch.arange(unlabelled) % CLASSES}

    def clips(label: Tensor) -> Tensor:
        noise = torch.randn(len(label), 3, 4, side, side, generator=generator)
        return noise + (label.float() - 1).view(-1, 1, 1, 1, 1)

    return Batch(
        clips={view: clips(labels[view.stream]) for view in method.views},
        label=labels["labelled"],
        truth=labels["unlabelled"] if any(view.stream == "unlabelled" for view in method.views) else None,
        epoch=1e9,
    )


def total(method: Method, batch: Batch) -> Tensor:
    """What the engine minimises."""
    terms, weights = method.loss(batch), method.weights(batch.epoch)
    assert terms.keys() == weights.keys()
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
