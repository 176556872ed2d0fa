"""Floating point operations of a training step and of a test clip, counted on the method's own code without data.

The step runs on PyTorch's meta device, whose tensors have shapes and no content: `loss`, its weighted sum and the
backward pass, with every view, teacher and head that the method really uses. Counted are convolutions and matrix
products, as `models.describe` counts them; what depends on values (which pseudo-labels are confident) is assumed to
be all of it.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ssar.config import RunConfig, canonical
from ssar.engine.weights import save_model
from ssar.evaluation.scores import Similarity, write_scores
from ssar.methods import method_class
from ssar.methods.base import Batch, Method, View
from ssar.models.build import build

LONG_AFTER = 1e9
"""An epoch in which no warm-up lasts."""


class StepCount(NamedTuple):
    """Of one micro-batch on one device."""

    flops: float
    warming: float
    """The same during the supervised warm-up."""
    state: int
    """Bytes of the method's state, as checkpoints hold it."""
    trained: int
    """Bytes of the parameters that the optimiser moves."""
    evaluated: int
    """Bytes of the evaluated network's state."""
    counted: bool
    """False where the method's step could not run without data, so that its declared views were counted instead."""


def step_flops(config: RunConfig, classes: int, upstream: Mapping[str, RunConfig]) -> StepCount:
    """Operations of a run's step, and the bytes of what it trains. `upstream`: the runs in the method's roles."""
    with _without_data():
        method = started(config, classes, upstream, ["0.avi"]).train()
        try:
            flops = _passes(method, LONG_AFTER)
            warming = _passes(method, 0.0) if config.train.supervised_warmup_epochs else flops
            counted = True
        except (RuntimeError, NotImplementedError, ValueError):  # what torch raises where a value is asked for
            flops = warming = _declared(method)
            counted = False
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    sizes = (_bytes(method.state_dict().values()), _bytes(parameters), _bytes(method.predictor.state_dict().values()))
    return StepCount(flops, warming, *sizes, counted)


def clip_flops(config: RunConfig, size: int) -> float:
    """Operations of the evaluated network's forward pass over one test clip of `size` x `size` pixels."""
    with _without_data(), torch.no_grad():
        network = build(config.model, 2).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, config.clip.frames, size, size))
    return float(counter.get_total_flops())


def started(config: RunConfig, classes: int, upstream: Mapping[str, RunConfig], videos: list[str]) -> Method:
    """A method with fresh weights, and with freshly initialised networks and random scores in its roles."""
    config = config.model_copy(update={"model": unpretrained(config)})
    method = method_class(config.method)(config, classes)
    roles = [role for role in config.options.roles if role == "scores" or role in upstream]
    with tempfile.TemporaryDirectory() as folder:
        files = {role: Path(folder) / f"{role}.file" for role in roles}
        for role, path in files.items():
            if role == "scores":
                _write_scores(path, videos, config)
            else:
                _write_network(path, upstream[role], classes)
        method.start(files, {"labelled": videos, "unlabelled": videos})
    return method


def unpretrained(config: RunConfig) -> Any:
    """The run's network without the image weights that it would start from."""
    model = config.model
    return model.model_copy(update={"vit": model.vit.model_copy(update={"pretrained": None})})


def _write_network(path: Path, config: RunConfig, classes: int) -> None:
    with torch.device("cpu"):  # a file holds values
        method = method_class(config.method)(config.model_copy(update={"model": unpretrained(config)}), classes)
    save_model(path, config, [str(number) for number in range(classes)], method, method.predictor)


def _write_scores(path: Path, videos: list[str], config: RunConfig) -> None:
    score, pairs = np.zeros(len(videos)), np.zeros((len(videos), 2, 1, 1))
    write_scores(path, Similarity(np.array(videos), pairs, pairs, score, score, [canonical(config)] * 2))


# --- without data ---------------------------------------------------------------------------------


class _Guess(TorchDispatchMode):
    """Answers what the meta device cannot: a number is 0.5, a condition true, and a diagonal has its real values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket is torch.ops.aten.eye:  # how many pairs a mask leaves decides shapes
            return func(*args, **{**(kwargs or {}), "device": "cpu"})
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return True if args[0].dtype == torch.bool else 0.5 if args[0].is_floating_point() else 0
        if func is torch.ops.aten._sample_dirichlet.default and args[0].is_meta:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_data() -> Iterator[None]:
    """New tensors are on the meta device; what it lacks is made up for."""
    autocast = torch.autocast

    def lenient(device_type: str, *args: Any, **kwargs: Any) -> Any:
        # losses switch it off around similarities; the meta device does not know it
        return nullcontext() if device_type == "meta" else autocast(device_type, *args, **kwargs)

    every = patch("torch.fx.experimental._config.meta_nonzero_assume_all_nonzero", True)
    with warnings.catch_warnings(), patch("torch.autocast", lenient), every, torch.device("meta"):
        # weights that are read into a network without content
        warnings.simplefilter("ignore", UserWarning)
        yield


def _passes(method: Method, epoch: float) -> float:
    """Operations of the loss and its gradients."""
    batch = _batch(method, epoch)
    with FlopCounterMode(display=False) as counter, _Guess():
        terms, weights = method.loss(batch), method.weights(epoch)
        loss: Any = sum(weights[name] * term for name, term in terms.items())
        loss.backward()
    method.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def _batch(method: Method, epoch: float) -> Batch:
    config = method.config
    count = {"labelled": config.train.labelled, "unlabelled": config.train.unlabelled}
    size = config.augment.weak.size
    return Batch(
        clips={view: torch.empty(count[view.stream], 3, frames(config, view), size, size) for view in method.views},
        label=torch.zeros(count["labelled"] if config.options.needs_labelled else 0, dtype=torch.int64),
        truth=None,
        epoch=epoch,
        video={stream: torch.zeros(number, dtype=torch.int64) for stream, number in count.items()},
    )


def frames(config: RunConfig, view: View) -> int:
    """Frames of a view's clips."""
    windows = config.options.windows(view.stream, config.clip.frames, config.clip.stride)
    return {window.name: window.frames for window in windows}.get(view.clip, config.clip.frames)


def _declared(method: Method) -> float:
    """Each declared view once through the evaluated network, forward and backward."""
    batch = _batch(method, LONG_AFTER)
    with FlopCounterMode(display=False) as counter:
        for clips in batch.clips.values():
            nn.functional.mse_loss(logits := method.predictor(clips), torch.zeros_like(logits)).backward()
    return float(counter.get_total_flops())


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, Tensor))
