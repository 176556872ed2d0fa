"""What a device was measured to do, and what follows for a shape that was not measured. No torch.

A measured shape answers for itself. Another one is scaled by floating point operations from the nearest measured one of
its family (kind of network; training or evaluation): small networks reach a small part of a device's speed, so that one
number for all would be wrong by an order of magnitude.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ssar.cost.shapes import DecodeShape, EvalShape, StepShape
from ssar.errors import UserError
from ssar.files import write_json

How = Literal["probed", "scaled", "stated"]
VERSION = 1

UNTESTED = 0.5
"""Relative uncertainty of scaling where nothing was measured that would tell it."""


class Estimate(NamedTuple):
    """Seconds of something, how they are known, and their relative uncertainty."""

    seconds: float
    how: How
    spread: float


@dataclass(frozen=True)
class StepTime:
    """A measured micro-batch: loss, backward, optimiser, augmentation on the device."""

    shape: str
    arch: str
    precision: str
    method: str
    flops: float  # of the micro-batch that was measured
    whole: bool  # false where that was smaller than the run's, to fit into the time
    seconds: float  # median
    spread: float  # half the distance of the middle 80 %, relative
    setup: float  # from the class to the end of the first step
    steps: int


@dataclass(frozen=True)
class EvalTime:
    """A measured test video: its views cut and its clips through the network."""

    shape: str
    arch: str
    flops: float  # of one clip
    seconds: float  # of one clip's forward pass
    spread: float
    whole: bool
    cut: float  # seconds to decode and cut one clip of the video


@dataclass(frozen=True)
class DecodeTime:
    """A measured sample of a stream, in seconds of one process."""

    shape: str
    frames: int
    plain: float  # without a cache
    first: float  # into the cache
    cached: float


@dataclass(frozen=True)
class Probe:
    """results/probe.json: what was measured, where and when."""

    device: str
    cuda: bool
    torch: str
    threads: int
    date: str
    seconds: float  # that the probe took
    load: float  # of the machine before it, per core
    start: float  # of a training's process, up to its first own line
    light: float  # of a process without torch
    frame: float  # to decode one frame of a video read from end to end
    steps: tuple[StepTime, ...]
    evals: tuple[EvalTime, ...]
    decodes: tuple[DecodeTime, ...]
    notes: tuple[str, ...] = ()
    version: int = VERSION

    def write(self, path: str | Path) -> None:
        """Write the file, atomically."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: str | Path) -> Probe:
        """Raises UserError for a file that is missing or none of this version."""
        try:
            content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.get("version") != VERSION:
                raise KeyError("version")
            kinds = {"steps": StepTime, "evals": EvalTime, "decodes": DecodeTime}
            lists = {key: tuple(kind(**item) for item in content[key]) for key, kind in kinds.items()}
            return cls(**{**content, **lists, "notes": tuple(content["notes"])})
        except FileNotFoundError:
            raise UserError(f"{path}: there is no measurement; run `cli.py probe`, or state --throughput") from None
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no measurement of this version ({error!r}); remove it and probe anew") from None

    # --- what follows ---------------------------------------------------------------------------------

    def step(self, shape: StepShape, flops: float) -> Estimate:
        """Seconds of a micro-batch of that many operations."""
        return _scaled(self.steps, shape, flops, _step_distance)

    def setup(self, shape: StepShape, flops: float) -> float:
        """Seconds from the process's own first line to the end of the first step."""
        return _nearest(self.steps, shape, flops, _step_distance).setup if self.steps else 0.0

    def clip(self, shape: EvalShape, flops: float) -> Estimate:
        """Seconds of one clip's forward pass in evaluation mode."""
        return _scaled(self.evals, shape, flops, _eval_distance)

    def cut(self, shape: EvalShape, flops: float) -> float:
        """Seconds of one process to decode and cut one test clip."""
        return _nearest(self.evals, shape, flops, _eval_distance).cut if self.evals else 0.0

    def decode(self, shape: DecodeShape) -> DecodeTime:
        """Seconds of a training sample; of the nearest number of frames where it was not measured."""
        if not self.decodes:
            return DecodeTime(shape.key, shape.frames, 0.0, 0.0, 0.0)
        exact = [item for item in self.decodes if item.shape == shape.key]
        return (exact or sorted(self.decodes, key=lambda item: abs(item.frames - shape.frames)))[0]


@dataclass(frozen=True)
class Stated:
    """What the user says: one effective speed for all passes, and decoding that keeps up."""

    tflops: float
    start: float = 30.0
    light: float = 1.0
    frame: float = 0.001
    cuda: bool = True

    @property
    def assumption(self) -> str:
        return (
            f"Stated, not measured: {self.tflops:g} TFLOP/s in every training and evaluation step, whatever the "
            f"network; decoding never waited for; {self.start:g} s to start a process; {1 / self.frame:g} frames a "
            "second decoded by a core for indexes and stores."
        )

    def step(self, shape: StepShape, flops: float) -> Estimate:
        return Estimate(flops / (self.tflops * 1e12), "stated", 0.0)

    def setup(self, shape: StepShape, flops: float) -> float:
        return 0.0

    def clip(self, shape: EvalShape, flops: float) -> Estimate:
        return Estimate(flops / (self.tflops * 1e12), "stated", 0.0)

    def cut(self, shape: EvalShape, flops: float) -> float:
        return 0.0

    def decode(self, shape: DecodeShape) -> DecodeTime:
        return DecodeTime(shape.key, shape.frames, 0.0, 0.0, 0.0)


Throughput = Probe | Stated


def stated(text: str) -> Stated:
    """From `--throughput`: effective TFLOP/s. Raises UserError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"--throughput {text}: expected effective TFLOP/s, a number above 0, e.g. 40")
    return Stated(value)


# --- scaling --------------------------------------------------------------------------------------


def _step_distance(item: StepTime, shape: StepShape | StepTime, flops: float) -> float:
    """How unlike two steps are: 1 is another method, or e times the operations; other precisions are far away."""
    other = (item.method != shape.method) + 3.0 * (item.precision != shape.precision)
    return other + abs(math.log(max(flops, 1.0) / max(item.flops, 1.0)))


def _eval_distance(item: EvalTime, shape: EvalShape | EvalTime, flops: float) -> float:
    return abs(math.log(max(flops, 1.0) / max(item.flops, 1.0)))


def _nearest(items: Sequence[Any], shape: Any, flops: float, distance: Any) -> Any:
    """The measurement of the shape itself, else the nearest one of its family, else the nearest of all."""
    exact = [item for item in items if item.shape == getattr(shape, "key", None)]
    family = [item for item in items if item.arch == shape.arch]
    return min(exact or family or items, key=lambda item: distance(item, shape, flops))


def _scaled(items: Sequence[Any], shape: Any, flops: float, distance: Any) -> Estimate:
    if not items:
        raise UserError("nothing of that kind was measured; probe again with more --seconds, or state --throughput")
    near = _nearest(items, shape, flops, distance)
    if near.shape == shape.key and near.whole:
        return Estimate(near.seconds, "probed", near.spread)
    error = math.hypot(near.spread, scaling_error(items, shape.arch, distance))
    return Estimate(near.seconds * flops / near.flops, "scaled", error)


def scaling_error(items: Sequence[Any], arch: str, distance: Any = _step_distance) -> float:
    """How wrong scaling is among the measured shapes of a family: the median error of each from the nearest other."""
    family = [item for item in items if item.arch == arch]
    errors = []
    for item in family:
        others = [other for other in family if other is not item]
        if others:
            near = min(others, key=lambda other: distance(other, item, item.flops))
            errors.append(abs(near.seconds / near.flops * item.flops / item.seconds - 1))
    return sorted(errors)[len(errors) // 2] if errors else UNTESTED
