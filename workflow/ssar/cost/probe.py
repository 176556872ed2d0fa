"""A minute on the user's own device: real steps, test clips and decoding in the shapes of the runs that are asked for.

Every number comes from the code that trainings run: the loop with its optimiser, the augmenter on the device, the
decoder on the dataset's own videos, or, before they are here, on generated ones of the same size. A step that would
take too long is measured with fewer clips. Shapes are taken in turn: first one of each method, then those with the most
work behind them; what the time does not reach is scaled from these (see `ssar.cost.throughput`).

On a CPU with one thread the process's own time is taken where it is less than the wall clock's: another job on the
machine is not part of a run's cost.
"""

from __future__ import annotations

import gc
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ssar.augment import Augmenter, make_batch
from ssar.config import RunConfig
from ssar.cost.flops import LONG_AFTER, frames, started
from ssar.cost.plan import Plan, requested
from ssar.cost.sample import TOUCHES, Samples
from ssar.cost.shapes import (
    ONE_CLIP,
    DecodeShape,
    StepShape,
    consecutive,
    decode_shape,
    eval_shape,
    step_shape,
)
from ssar.cost.sizes import dataset_sizes, streams
from ssar.cost.throughput import DecodeTime, EvalTime, Probe, StepTime
from ssar.data.clips import run_decoder
from ssar.data.loader import RawBatch, Stream, training_batches
from ssar.data.reader import open_video
from ssar.engine import provenance
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.devices import launched
from ssar.engine.interrupt import Interrupt
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.numerics import settle
from ssar.engine.objective import weighted_sum
from ssar.engine.plan import plan as run_plan
from ssar.evaluation.predict import CLIPS_AT_ONCE, predict_views, video_tasks, view_maker
from ssar.methods.base import Batch, Method, evaluated
from ssar.methods.options import Stream as StreamName
from ssar.models.build import build
from ssar.progress import note
from ssar.runtime import Runtime
from ssar.targets import Targets
from ssar.views import Views

RawBatches = Mapping[str, RawBatch | None]

WORKFLOW = Path(__file__).resolve().parents[2]
STEPS = 5
"""Steps that a shape is measured with, where the time allows; two at least."""
HEAVY = "import ssar.engine.train, lightning_fabric, torch.utils.tensorboard"
LIGHT = "import ssar.evaluation.metrics, pandas"


class Watch:
    """Seconds of pieces of work; see the module's head on what they are on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.own = device, device.type == "cpu" and torch.get_num_threads() == 1

    def now(self) -> tuple[float, float]:
        """Wall clock and process time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def between(self, first: tuple[float, float], last: tuple[float, float]) -> float:
        """Seconds of the work between two `now`."""
        wall, own = last[0] - first[0], last[1] - first[1]
        return min(wall, own) if self.own else wall

    def of(self, work: Callable[[], object]) -> float:
        """Seconds that it takes."""
        first = self.now()
        work()
        return self.between(first, self.now())


def probe(targets: Targets, names: Sequence[str], out: str | Path, seconds: float, runtime: Runtime) -> None:
    """Measure what the named targets lack (`ssar.cost.plan.requested`) for about `seconds`, and write it to `out`.

    Raises UserError for a device that is not there and for an unknown target.
    """
    measure(targets, requested(targets, names), seconds, runtime).write(out)


def measure(targets: Targets, missing: Plan, seconds: float, runtime: Runtime) -> Probe:
    """The speed of this machine in the shapes of the missing jobs."""
    began, load = time.monotonic(), os.getloadavg()[0] / (os.cpu_count() or 1)
    start, light = (_process(code) for code in (HEAVY, LIGHT))
    runtime = runtime.model_copy(update={"devices": 1, "workers": 0})
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(targets, missing, runtime, Path(folder), began + seconds)
        evals = bench.evals()
        decodes = bench.decodes()
        steps = bench.steps()
        found = Probe(
            device=provenance.device_name(bench.device),
            cuda=bench.device.type == "cuda",
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - began, 1),
            load=round(load, 2),
            start=start,
            light=light,
            frame=bench.frame(),
            steps=tuple(steps),
            evals=tuple(evals),
            decodes=tuple(decodes),
            notes=tuple(bench.samples.notes),
        )
    note(f"probed {len(steps)} of {len(bench.step_groups)} step shapes, {len(evals)} of {len(bench.eval_groups)} views")
    return found


def _process(code: str) -> float:
    """Seconds to start a Python that runs the code."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(WORKFLOW)!r}); {code}"]
    first, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, last = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    return min(wall, last.ru_utime + last.ru_stime - first.ru_utime - first.ru_stime)


@dataclass
class _Group:
    """Missing runs of one shape."""

    shape: Any
    config: RunConfig
    work: float = 0.0
    views: Views | None = None  # of a group of views
    batch: int = 1  # videos that pass together


class _Bench:
    """The measurements of one call."""

    def __init__(self, targets: Targets, missing: Plan, runtime: Runtime, folder: Path, deadline: float) -> None:
        self.targets, self.runtime, self.folder, self.deadline = targets, runtime, folder, deadline
        self.samples = Samples(targets, folder)
        self.step_groups, self.eval_groups = self._groups(missing)
        configs = [group.config for group in self.step_groups] or [run.config for run in targets.grid.runs.values()]
        self.device = launched(configs[0].model_copy(update={"precision": "32-true"}), runtime).device
        self.watch = Watch(self.device)

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    def _groups(self, missing: Plan) -> tuple[list[_Group], list[_Group]]:
        """Shapes of steps, and of test videos, of the missing jobs: those with the most work behind them first."""
        steps: dict[str, _Group] = {}
        evals: dict[str, _Group] = {}
        for job in missing.jobs.values():
            if job.kind == "train":
                config = self.targets.run(job.subject).config
                shape = step_shape(config)
                found = streams(self.targets, job.subject)
                total = run_plan(config, found.labelled, found.unlabelled, 1)
                group = steps.setdefault(shape.key, _Group(shape, config))
                group.work += total.steps * total.accumulation * _bulk(config)
                if config.train.precise_bn:
                    clips = config.train.precise_bn * total.unlabelled
                    _add(evals, config, ONE_CLIP, clips, config.train.unlabelled)
            elif job.kind == "predict":
                config, views = self.targets.run(job.subject).config, Views.from_slug(job.views)
                _add(evals, config, views, streams(self.targets, job.subject).test * views.clips * views.crops)
            elif job.kind == "similarity":
                config = self.targets.run(job.subject.partition("+")[0]).config
                views = consecutive(config)
                _add(evals, config, views, 2 * dataset_sizes(self.targets, config.dataset).training * views.clips)
        order = sorted(steps.values(), key=lambda group: -group.work)
        first = {(group.config.model.arch, group.config.method): group for group in reversed(order)}
        ahead = [group for group in order if first[group.config.model.arch, group.config.method] is group]
        rest = [group for group in order if group not in ahead]
        return ahead + rest, sorted(evals.values(), key=lambda group: -group.work)

    def frame(self) -> float:
        """Seconds to decode a frame of a video from end to end; 0 where no video was read."""
        for sample in self.samples.found.values():
            video = sample.videos[0]
            reader = open_video(sample.root / video.path, self.runtime.reader)
            seconds = self.watch.of(partial(reader.frames, range(video.frames)))
            reader.close()
            return seconds / video.frames
        return 0.0

    # --- decoding -------------------------------------------------------------------------------------

    def decodes(self) -> list[DecodeTime]:
        """The samples of every stream of every shape, while a third of the time is left."""
        found: dict[str, DecodeTime] = {}
        share = self.left / 3
        begun = time.monotonic()
        for group in self.step_groups:
            for stream in _streams(group.config):
                shape = decode_shape(group.config, stream)
                if shape.key not in found and time.monotonic() - begun < share:
                    found[shape.key] = self._decode(group.config, stream, shape)
        return list(found.values())

    def _decode(self, config: RunConfig, name: StreamName, shape: DecodeShape) -> DecodeTime:
        sample = self.samples.of(shape.dataset)
        windows = config.options.windows(name, config.clip.frames, config.clip.stride)
        modalities, store = config.options.modalities, sample.store_of(config)

        def times(cache_mb: int, passes: int) -> list[float]:
            """The mean seconds of a sample in each pass over the videos."""
            decoder = run_decoder(config, sample.root, store, self.runtime.reader, modalities, cache_mb)
            videos = [v for v in sample.videos if v.frames > decoder.lookahead][:TOUCHES]
            stream = Stream(name, videos, 1, 0, windows)
            tasks = [stream.sample(place, config.clip, decoder.lookahead) for place in range(passes * len(videos))]
            taken = [self.watch.of(partial(decoder, task)) for task in tasks]
            return [float(np.mean(part)) for part in np.split(np.array(taken), passes)]

        _, plain = times(0, 2)  # the first opens files for the first time
        if not self.runtime.cache_mb:
            return DecodeTime(shape.key, shape.frames, plain, plain, plain)
        first, cached = times(self.runtime.cache_mb, 2)
        return DecodeTime(shape.key, shape.frames, plain, first, cached)

    # --- evaluation -----------------------------------------------------------------------------------

    def evals(self) -> list[EvalTime]:
        """The views of test videos, while three quarters of the time are left; at least one."""
        found: list[EvalTime] = []
        share, begun = self.left / 4, time.monotonic()
        for group in self.eval_groups:
            if found and time.monotonic() - begun > share:
                break
            assert group.views is not None
            found.append(self._eval(group, group.views, share / len(self.eval_groups)))
            self._free()
        return found

    def _eval(self, group: _Group, views: Views, budget: float) -> EvalTime:
        config, shape = group.config, group.shape
        modality = config.options.test_modality
        sample = self.samples.of(config.dataset)
        store = sample.store_of(config) if modality == "tg" else None
        decoder = run_decoder(config, sample.root, store, self.runtime.reader, frozenset({modality}))
        videos = [v for v in sample.videos if v.frames > decoder.lookahead][:3]
        cutter, augmenter = view_maker(config, decoder, views), Augmenter(config.augment, self.device)
        cuts, clips = [], None
        for task in video_tasks(config, videos, views, decoder.lookahead):
            first = self.watch.now()
            clips = cutter(task)
            cuts.append(self.watch.between(first, self.watch.now()) / shape.clips)
        assert clips is not None
        clips = clips.repeat(group.batch, *[1] * (clips.dim() - 1))
        network = build(config.model, sample.classes).eval().to(self.device)

        def forward(part: Tensor) -> None:
            predict_views(network, augmenter.normalise(part.to(self.device)), views.average)

        one = _flops(partial(forward, clips[:1]))
        alone = self.watch.of(partial(forward, clips[:1]))
        most = min(len(clips), CLIPS_AT_ONCE)
        count = int(min(most, max(1.0, budget / 3 / max(alone, 1e-6))))
        taken: list[float] = []
        while len(taken) < 2 or (len(taken) < 8 and sum(taken) < budget / 2):
            taken.append(self.watch.of(partial(forward, clips[:count])))
        each = np.array(taken[1:]) / count  # the first one looks for the fastest kernels
        return EvalTime(shape.key, shape.arch, one, *_middle(each), count == most, float(np.median(cuts)))

    # --- steps ----------------------------------------------------------------------------------------

    def steps(self) -> list[StepTime]:
        """As many shapes as the time is enough for, and at least one."""
        found: list[StepTime] = []
        longest = 0.0
        for number, group in enumerate(self.step_groups):
            if found and self.left < longest:
                break
            begun = time.monotonic()
            share = max(self.left / (len(self.step_groups) - number), min(5.0, self.left))
            found.append(self._step(group.config, group.shape, share))
            longest = max(longest, time.monotonic() - begun)
            self._free()
        return found

    def _step(self, config: RunConfig, shape: StepShape, budget: float) -> StepTime:
        sample = self.samples.of(config.dataset)
        first = self.watch.now()
        fabric = launched(config, self.runtime)
        upstream = {role: self.targets.run(run_id).config for role, run_id in config.upstream.items()}
        paths = [video.path for video in sample.videos]
        torch.manual_seed(0)
        method = started(config, sample.classes, upstream, paths)
        fabric.to_device(method)
        built = self.watch.between(first, self.watch.now())
        config, whole = self._fitting(config, method, budget)

        store = sample.store_of(config) if "tg" in config.options.modalities else None
        batches = training_batches(config, sample.split(), sample.root, store, self.runtime, steps=range(1))
        raw = next(batches)
        augmenter = Augmenter(config.augment, fabric.device, config.seed)
        first = self.watch.now()
        batch = make_batch(augmenter, raw, method.views, LONG_AFTER)
        settle(fabric, method, config, self.runtime, batch, ())
        counter = FlopCounterMode(display=False)
        if config.compile:  # what is compiled cannot be counted
            with counter, fabric.autocast():
                weighted_sum(method.loss(batch), method.weights(LONG_AFTER)).backward()
            method.compile()
        total = run_plan(config, len(sample.videos), len(sample.videos), 1)
        files = Checkpoints(self.folder / "state", "probe")
        seldom = self.runtime.model_copy(update={"checkpoint_minutes": 1e6})
        loop = Loop(fabric, method, config, total, seldom, files, Curves(None), Interrupt())
        stamps: list[tuple[float, float]] = []

        def prepare(taken: RawBatches, epoch: float) -> tuple[Batch, list[str]]:
            # the device is not waited for: the loop stays one step ahead of it, as in a training
            stamps.append((time.perf_counter(), time.process_time()))
            return make_batch(augmenter, taken, method.views, epoch), []

        def run(steps: int) -> list[float]:
            """Seconds of each step."""
            stamps.clear()
            loop.plan, loop.step = replace(total, steps=steps), 0
            loop.run(itertools.repeat(raw), prepare)
            stamps.append(self.watch.now())
            return [self.watch.between(a, b) for a, b in itertools.pairwise(stamps)]

        with nullcontext() if config.compile else counter:
            run(1)
        setup = built + self.watch.between(first, self.watch.now())
        taken = run(1)
        taken += run(int(min(STEPS - 1, max(1.0, budget / 2 / max(taken[0], 1e-6)))))
        seconds, spread = _middle(np.array(taken))
        head = (shape.key, shape.arch, shape.precision, shape.method)
        return StepTime(*head, float(counter.get_total_flops()), whole, seconds, spread, setup, len(taken))

    def _fitting(self, config: RunConfig, method: Method, budget: float) -> tuple[RunConfig, bool]:
        """One share of the run's steps without warm-up, with so many clips that some steps fit into the budget."""
        train, size = config.train, config.augment.weak.size
        clip = torch.zeros(1, 3, config.clip.frames, size, size, device=self.device)
        alone = self.watch.of(lambda: evaluated(method.predictor, clip))
        batch = {"labelled": train.labelled, "unlabelled": train.unlabelled}
        step = 3 * alone * sum(batch[v.stream] * frames(config, v) / config.clip.frames for v in method.views)
        # small networks take less time for each of many clips than for one alone, so a factor of ten is no reason
        share = min(1.0, 10 * budget / (STEPS * step)) if step > 0 else 1.0
        fewer = {stream: max(1, int(count * share)) for stream, count in batch.items()} if share < 1 else batch
        update = {
            **fewer,
            "global_labelled": None,
            "exchange": None,
            "epochs": None,
            "steps": 1,
            "supervised_warmup_epochs": 0.0,
        }
        return config.model_copy(update={"train": train.model_copy(update=update)}), fewer == batch

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _add(groups: dict[str, _Group], config: RunConfig, views: Views, clips: int, batch: int = 1) -> None:
    """Note that so many clips are to be evaluated."""
    shape = eval_shape(config, views)
    groups.setdefault(shape.key, _Group(shape, config, 0.0, views, batch)).work += clips * shape.size**2


def _streams(config: RunConfig) -> Iterator[StreamName]:
    """The streams that a run's training decodes."""
    if config.options.needs_labelled:
        yield "labelled"
    if config.options.needs_unlabelled:
        yield "unlabelled"


def _bulk(config: RunConfig) -> float:
    """Work of a micro-batch in a unit of its own, for the order alone."""
    batch = config.train.labelled + (config.train.unlabelled if config.options.needs_unlabelled else 0)
    return batch * config.clip.frames * config.augment.weak.size**2 * config.model.depth * config.model.width**2


def _flops(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def _middle(taken: np.ndarray) -> tuple[float, float]:
    """The median, and half the distance of the middle 80 % relative to it."""
    middle = float(np.median(taken))
    low, high = np.quantile(taken, [0.1, 0.9])
    return middle, float((high - low) / 2 / middle)
