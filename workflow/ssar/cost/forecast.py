"""What one job costs: from a run's settings, the size of its dataset and a throughput to seconds and bytes.

Pure functions of numbers, without torch: `Counts` brings the operations that `ssar.cost.flops` counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssar.config import RunConfig
from ssar.cost.shapes import ONE_CLIP, consecutive, decode_shape, eval_shape, step_shape
from ssar.cost.sizes import Sizes, Streams
from ssar.cost.throughput import UNTESTED, How, Throughput
from ssar.engine.plan import Plan, plan
from ssar.methods.options import Stream
from ssar.runtime import Runtime
from ssar.views import Views

ENCODED = 4e7
"""Pixels that a core encodes in a second (benchmarks/transcode.py)."""

CHECKPOINTS = 2
"""Generations of a resume checkpoint that lie on disk while a run trains."""


@dataclass(frozen=True)
class Counts:
    """Operations and bytes of a run; see `ssar.cost.flops.StepCount`."""

    flops: float
    warming: float
    state: float
    trained: float
    evaluated: float
    clip: float  # operations of one clip's forward pass at the training's size


@dataclass(frozen=True)
class Cost:
    """What a job takes. Seconds are those of its devices; parts add up to them."""

    seconds: float
    how: How
    spread: float  # relative uncertainty of the seconds
    disk: float = 0.0  # bytes that stay
    scratch: float = 0.0  # bytes that go when it is done
    steps: int = 0
    start: float = 0.0  # seconds of process start, building and the first step
    waiting: float = 0.0  # seconds for decoding on top of computing
    flops: float = 0.0  # operations of all steps on one device


def training(
    config: RunConfig, streams: Streams, sizes: Sizes, counts: Counts, throughput: Throughput, runtime: Runtime
) -> Cost:
    """The cost of one training on `runtime.world` devices.

    Steps times the time of their micro-batches, of which those of the supervised warm-up have fewer operations;
    decoding, side by side with the steps where the runtime has workers, else on top of them; PreciseBN; the start.
    """
    total = plan(config, streams.labelled, streams.unlabelled, runtime.world)
    micro = throughput.step(step_shape(config), counts.flops)
    warm = min(total.steps, math.ceil(config.train.supervised_warmup_epochs * total.steps_per_epoch))
    full = total.steps - warm + warm * counts.warming / max(counts.flops, 1.0)
    computing = total.accumulation * full * micro.seconds
    reading = _reading(config, streams, sizes, total.steps * total.accumulation, throughput, runtime)
    waiting = _hidden(computing, reading, runtime)
    start = throughput.start + throughput.setup(step_shape(config), counts.flops)
    averaging = _precise_bn(config, total, counts, throughput, runtime)
    optimiser = {"sgd": 1, "adam": 2}[config.optim.name] * counts.trained
    averaged = counts.evaluated if config.train.ema > 0 else 0.0
    return Cost(
        seconds=start + computing + waiting + averaging,
        how=micro.how,
        spread=micro.spread,
        disk=counts.state + counts.evaluated,
        scratch=CHECKPOINTS * (counts.state + optimiser + averaged),
        steps=total.steps,
        start=start,
        waiting=waiting,
        flops=total.accumulation * full * counts.flops,
    )


def _reading(
    config: RunConfig, streams: Streams, sizes: Sizes, micros: int, throughput: Throughput, runtime: Runtime
) -> float:
    """Seconds of one process to decode all samples of one device."""
    options, train = config.options, config.train
    wanted: list[tuple[Stream, int, int]] = []
    if options.needs_labelled:
        wanted.append(("labelled", train.labelled, streams.labelled))
    if options.needs_unlabelled:
        wanted.append(("unlabelled", train.unlabelled, streams.unlabelled))
    width, height = sizes.decoded(config.data.decode_short_side)
    kinds = len(options.modalities & {"rgb", "tg"})
    room = runtime.cache_mb * 2**20 / max(sizes.frames * width * height * 3 * kinds, 1.0)  # videos of a process's cache
    seconds, processes = 0.0, max(runtime.workers, 1)
    for stream, batch, videos in wanted:
        time = throughput.decode(decode_shape(config, stream))
        samples = micros * batch
        # every process fills a cache of its own, and each video's first sample does not find it there
        kept = min(videos, room)
        firsts = min(samples, kept * processes)
        hits = (samples - firsts) * (kept / videos if videos else 0.0)
        seconds += firsts * time.first + hits * time.cached + (samples - firsts - hits) * time.plain
    return seconds


def _hidden(computing: float, reading: float, runtime: Runtime) -> float:
    """Seconds that decoding adds to computing: all of it in one process, the excess with workers beside it."""
    if runtime.workers == 0:
        return reading
    return max(0.0, reading / runtime.workers - computing)


def _precise_bn(config: RunConfig, total: Plan, counts: Counts, throughput: Throughput, runtime: Runtime) -> float:
    """Seconds of the batches after the training, whose clips are decoded without a cache."""
    clips = config.train.precise_bn * config.train.unlabelled * total.accumulation
    if not clips:
        return 0.0
    shape = eval_shape(config, ONE_CLIP)
    forward = clips * throughput.clip(shape, counts.clip).seconds
    return forward + _hidden(forward, clips * throughput.cut(shape, counts.clip), runtime)


def prediction(
    config: RunConfig, views: Views, videos: int, classes: int, clip: float, throughput: Throughput, runtime: Runtime
) -> Cost:
    """The cost of predicting `videos` videos with all views; `clip` are the operations of one clip's pass."""
    shape = eval_shape(config, views)
    forward = throughput.clip(shape, clip)
    clips = math.ceil(videos / runtime.world) * shape.clips
    computing = clips * forward.seconds
    waiting = _hidden(computing, clips * throughput.cut(shape, clip), runtime)
    return Cost(
        seconds=throughput.start + computing + waiting + throughput.light,  # the last are the metrics
        how=forward.how,
        spread=forward.spread,
        disk=videos * (4.0 * classes + 2.0 * 512 + 100),  # scores, features, the path
        start=throughput.start,
        waiting=waiting,
    )


def similarity(config: RunConfig, videos: int, clip: float, throughput: Throughput, runtime: Runtime) -> Cost:
    """The cost of the similarities of `videos` videos under two pretrained networks."""
    shape = eval_shape(config, consecutive(config))
    clips = shape.clips
    forward = throughput.clip(shape, clip)
    seen = math.ceil(videos / runtime.world) * clips
    computing = 2 * seen * forward.seconds
    waiting = _hidden(computing, seen * throughput.cut(shape, clip), runtime)
    disk = videos * (16.0 * clips**2 + 100)
    return Cost(throughput.start + computing + waiting, forward.how, forward.spread, disk=disk, start=throughput.start)


def reading_all(sizes: Sizes, throughput: Throughput, processes: int) -> Cost:
    """The cost of decoding every video of a dataset to its end, as an index and a store do, on the CPU."""
    seconds = throughput.light + sizes.videos * sizes.frames * throughput.frame / max(processes, 1)
    return Cost(seconds, "scaled", UNTESTED)


def transcoding(sizes: Sizes, throughput: Throughput, processes: int) -> Cost:
    """The cost of transcoding a dataset, `sizes` being those of the new videos: sources are decoded twice, as in
    `ssar.data.transcode`, to count their frames and to write them."""
    encoding = sizes.videos * sizes.frames * sizes.width * sizes.height / ENCODED / max(processes, 1)
    seconds = 2 * reading_all(sizes, throughput, processes).seconds + encoding
    return Cost(seconds, "scaled", UNTESTED)
