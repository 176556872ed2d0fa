"""What decides how long a step, a test video or a sample takes: the keys of measurements. No torch."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ssar.config import RunConfig, canonical, digest
from ssar.methods.options import Stream
from ssar.views import Views

ONE_CLIP = Views(1, 1, None, "probs")
"""How PreciseBN sees a video."""


class StepShape(NamedTuple):
    """An optimiser step's micro-batch: runs that differ in seed, data or length alone have one shape."""

    key: str
    arch: str
    precision: str
    method: str


class EvalShape(NamedTuple):
    """All views of one video under the evaluated network, in fp32."""

    key: str
    arch: str
    clips: int
    size: int


class DecodeShape(NamedTuple):
    """One sample of a stream: all clips of a video that are decoded together."""

    key: str
    dataset: str
    frames: int


def step_shape(config: RunConfig) -> StepShape:
    """The shape of a run's training steps."""
    values = json.loads(canonical(config))
    for name in ("seed", "labels", "upstream", "unlabelled", "dataset", "version"):
        values.pop(name, None)
    train = config.train
    values["data"] = {"decode_short_side": config.data.decode_short_side}
    values["optim"] = {"name": config.optim.name}
    values["train"] = {"labelled": train.labelled, "unlabelled": train.unlabelled, "ema": train.ema > 0}
    return StepShape(_key(values), config.model.arch, config.precision, config.method)


def eval_shape(config: RunConfig, views: Views) -> EvalShape:
    """The shape of a prediction of one video."""
    weak = config.augment.weak
    size, clips = views.size or weak.size, views.clips * views.crops
    values = {
        "model": json.loads(canonical(config.model)),
        "clip": json.loads(canonical(config.clip)),
        "size": [size, views.size or weak.short_side, config.data.decode_short_side],
        "views": [views.clips, views.crops, views.kind, views.condition.slug],
        "modality": config.options.test_modality,
    }
    return EvalShape(_key(values), config.model.arch, clips, size)


def consecutive(config: RunConfig) -> Views:
    """How similarity scores see a video: n consecutive clips, as `ssar.evaluation.similarity` cuts them."""
    clips: int = config.options.clips  # type: ignore[attr-defined]
    return Views(clips, 1, None, "probs")


def decode_shape(config: RunConfig, stream: Stream) -> DecodeShape:
    """The shape of a training sample of a stream, from that stream's dataset."""
    elsewhere = config.unlabelled if stream == "unlabelled" else None
    dataset = elsewhere.dataset if elsewhere else config.dataset
    clip, options = config.clip, config.options
    windows = options.windows(stream, clip.frames, clip.stride)
    values = {
        "dataset": dataset,
        "short_side": config.data.decode_short_side,
        "clips": [[clip.frames, clip.stride], *([window.frames, window.stride] for window in windows)],
        "modalities": sorted(options.modalities),
        "tg": [config.data.tg_source, config.tg.interval] if "tg" in options.modalities else None,
        "flow": json.loads(canonical(config.flow)) if "flow" in options.modalities else None,
    }
    return DecodeShape(_key(values), dataset, clip.frames + sum(window.frames for window in windows))


def _key(values: Any) -> str:
    return digest(json.dumps(values, sort_keys=True), 12)
