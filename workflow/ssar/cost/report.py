"""From targets and a throughput to the page: every missing job's cost, once, and the sums that share them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssar.config import RunConfig
from ssar.cost import forecast
from ssar.cost.flops import clip_flops, step_flops
from ssar.cost.forecast import Cost, Counts
from ssar.cost.limits import Limits, Time
from ssar.cost.plan import Job, Plan, requested
from ssar.cost.render import BudgetLine, DataLine, Report, RunLine, TargetLine, render, two
from ssar.cost.schedule import Timed, chain, makespan
from ssar.cost.shapes import eval_shape, step_shape
from ssar.cost.sizes import (
    Sizes,
    dataset_sizes,
    datasets,
    download_bytes,
    store_bytes,
    streams,
    transcoded_bytes,
    video_bytes,
)
from ssar.cost.throughput import Probe, Stated, Throughput
from ssar.targets import Targets
from ssar.views import Views

HOUR = 3600.0
GPU_JOBS = ("train", "predict", "similarity")
EXCLUDED = (
    "time in a cluster's queue, and jobs that fail and run again",
    "the download: divide the GiB above by your bandwidth",
    "figures, tables and metrics that are drawn from finished runs: seconds each",
    "what several devices of one run lose to talking to each other",
)


def cost(
    targets: Targets,
    names: Sequence[str],
    throughput: Throughput,
    gpus: int = 1,
    budget: float | None = None,
    cores: int | None = None,
    limits: str | Path | None = None,
) -> str:
    """The page of the named targets (see `ssar.cost.plan.requested`), as Markdown.

    `gpus`: devices for the wall time; without a GPU `cores`, of which a job takes what its resources say. `budget`: in
    the page's unit of hours. `limits`: where the seconds of each job are written for time limits. Raises UserError for
    unknown targets, datasets of unknown size, and a probe of nothing.
    """
    found = Forecast(targets, requested(targets, names), throughput)
    if limits is not None:
        found.limits().write(limits)
    return render(found.report(gpus, budget, cores or os.cpu_count() or 1))


@dataclass
class Forecast:
    """The costs of a plan's jobs."""

    targets: Targets
    plan: Plan
    throughput: Throughput

    def __post_init__(self) -> None:
        self.grid, self.runtime = self.targets.grid, self.targets.project.runtime
        self._counts: dict[str, Counts] = {}
        self._clips: dict[str, float] = {}
        self.uncounted: set[str] = set()
        self.costs = {key: self._cost(job) for key, job in self.plan.jobs.items()}

    # --- one job --------------------------------------------------------------------------------------

    def _cost(self, job: Job) -> Cost:
        match job.kind:
            case "train":
                config = self.config(job.subject)
                split = streams(self.targets, job.subject)
                return forecast.training(
                    config, split, self._sizes(config), self.counts(config), self.throughput, self.runtime
                )
            case "predict":
                config, views = self.config(job.subject), Views.from_slug(job.views)
                split = streams(self.targets, job.subject)
                videos = split.labelled if views.condition.training else split.test
                clip = self.clip(config, eval_shape(config, views).size)
                classes = self._sizes(config).classes
                return forecast.prediction(config, views, videos, classes, clip, self.throughput, self.runtime)
            case "similarity":
                config = self.config(job.subject.partition("+")[0])
                clip = self.clip(config, config.augment.weak.size)
                videos = self._sizes(config).training
                return forecast.similarity(config, videos, clip, self.throughput, self.runtime)
            case "transcode":
                threads = self.targets.project.resources.data.threads
                return forecast.transcoding(dataset_sizes(self.targets, job.subject), self.throughput, threads)
            case "index" | "store":
                threads = self.targets.project.resources.data.threads
                return forecast.reading_all(dataset_sizes(self.targets, job.subject), self.throughput, threads)

    def config(self, run_id: str) -> RunConfig:
        return self.targets.run(run_id).config

    def _sizes(self, config: RunConfig) -> Sizes:
        return dataset_sizes(self.targets, config.dataset)

    def counts(self, config: RunConfig) -> Counts:
        """Operations and bytes, counted once for each shape."""
        key = step_shape(config).key
        if key not in self._counts:
            upstream = {role: self.config(run_id) for role, run_id in config.upstream.items()}
            found = step_flops(config, self._sizes(config).classes, upstream)
            if not found.counted:
                self.uncounted.add(config.method)
            sizes = found.state, found.trained, found.evaluated
            self._counts[key] = Counts(found.flops, found.warming, *sizes, self.clip(config, config.augment.weak.size))
        return self._counts[key]

    def clip(self, config: RunConfig, size: int) -> float:
        """Operations of one test clip."""
        key = f"{config.model.model_dump_json()} {config.clip.frames} {size}"
        if key not in self._clips:
            self._clips[key] = clip_flops(config, size)
        return self._clips[key]

    def limits(self) -> Limits:
        """The seconds of each training and prediction."""
        trainings: dict[str, Time] = {}
        predictions: dict[str, dict[str, Time]] = {}
        for job in self.plan.jobs.values():
            found = self.costs[job.key]
            time = Time(found.seconds, found.spread, found.how)
            if job.kind == "train":
                trainings[job.subject] = time
            elif job.kind == "predict":
                predictions.setdefault(job.subject, {})[job.views] = time
        speed = self.throughput
        device = f"{speed.tflops:g} TFLOP/s, stated" if isinstance(speed, Stated) else speed.device
        return Limits(device, self.runtime.world, trainings, predictions)

    # --- sums -----------------------------------------------------------------------------------------

    @property
    def cuda(self) -> bool:
        return self.throughput.cuda

    def holds(self, job: Job) -> int:
        """Devices of a job, or cores where there is no GPU; work on a whole dataset takes no GPU."""
        resources = self.targets.project.resources
        if job.kind not in GPU_JOBS:
            return 0 if self.cuda else resources.data.threads
        if self.cuda:
            return self.runtime.world
        return (resources.train if job.kind == "train" else resources.predict).threads

    def hours(self, keys: Iterable[str]) -> float:
        """Device (or core) hours of some jobs, each once; reading whole datasets is not among them."""
        jobs = [self.plan.jobs[key] for key in dict.fromkeys(keys)]
        return sum(self.costs[job.key].seconds * self.holds(job) for job in jobs if job.kind in GPU_JOBS) / HOUR

    def disk(self, keys: Iterable[str]) -> float:
        return sum(self.costs[key].disk for key in dict.fromkeys(keys))

    def report(self, gpus: int, budget: float | None, cores: int) -> Report:
        """The page's content."""
        plan, jobs = self.plan, list(self.plan.jobs.values())
        places = gpus if self.cuda else cores
        timed = {job.key: Timed(self.costs[job.key].seconds, self.holds(job), job.needs) for job in jobs}
        data = self._data()
        training = [self.costs[job.key].scratch for job in jobs if job.kind == "train"]
        side = max(1, places // max((self.holds(job) for job in plan.trainings()), default=1))
        hours = self.hours(plan.jobs)
        errors = [self.costs[job.key].spread * self.hours([job.key]) for job in jobs]
        return Report(
            unit="GPU h" if self.cuda else "core h",
            targets=self._target_lines(),
            runs=self._run_lines(),
            data=data,
            trainings=len(training),
            predictions=sum(job.kind == "predict" for job in jobs),
            hours=hours,
            # shapes share their measurements, so errors add up rather than cancel out
            spread=sum(errors) / hours if hours else 0.0,
            wall=makespan(timed, places) / HOUR,
            longest=chain(timed) / HOUR,
            places=f"{places} {'GPU' if self.cuda else 'core'}{'' if places == 1 else 's'}",
            download=sum(line.download for line in data),
            disk=self.disk(plan.jobs) + sum(line.disk for line in data),
            scratch=sum(sorted(training, reverse=True)[:side]),
            basis=self._basis(),
            excluded=EXCLUDED,
            budget=budget,
            budgeted=self._budgeted(budget) if budget is not None else (),
        )

    def _target_lines(self) -> list[TargetLine]:
        lines, before = [], set[str]()
        for request in self.plan.requests:
            new = [key for key in request.jobs if key not in before]
            before.update(new)
            runs = len(self.plan.trainings(request.jobs)), len(self.plan.trainings(new))
            lines.append(
                TargetLine(request.name, runs[0], self.hours(request.jobs), runs[1], self.hours(new), self.disk(new))
            )
        return lines

    def _budgeted(self, budget: float) -> list[BudgetLine]:
        """Targets in the order in which each adds least to those before it."""
        left, taken, total, lines = list(self.plan.requests), set[str](), 0.0, []
        while left:
            added = {request.name: self.hours(key for key in request.jobs if key not in taken) for request in left}
            cheapest = min(left, key=lambda request: added[request.name])
            left.remove(cheapest)
            taken.update(cheapest.jobs)
            total += added[cheapest.name]
            lines.append(BudgetLine(cheapest.name, added[cheapest.name], total, total <= budget))
        return lines

    def _run_lines(self) -> list[RunLine]:
        """Jobs of one shape and cost are one line; the dearest first."""
        groups: dict[tuple[str, int, str], list[Job]] = {}
        for job in self.plan.jobs.values():
            if job.kind in GPU_JOBS:
                found = self.costs[job.key]
                groups.setdefault((self._name(job), found.steps, f"{found.seconds:.3g} {found.how}"), []).append(job)
        lines = []
        for (name, steps, _), jobs in groups.items():
            one = self.costs[jobs[0].key]
            times = (one.seconds, one.start, one.waiting)
            lines.append(RunLine(name, len(jobs), steps, *times, one.flops / 1e12, one.spread, one.how))
        return sorted(lines, key=lambda line: -line.seconds * line.runs)

    def _name(self, job: Job) -> str:
        run_id = job.subject.partition("+")[0]
        config = self.config(run_id)
        setting = f"{config.dataset}.{config.labels.protocol}"
        if job.kind == "train":
            return f"train {config.method}, {setting}"
        if job.kind == "similarity":
            return f"similarities, {setting}"
        return f"predict {job.views}, {config.model.arch}, {config.dataset}"

    def _data(self) -> list[DataLine]:
        runs = (run for job in self.plan.jobs.values() if job.kind in GPU_JOBS for run in job.subject.split("+"))
        made = {(job.kind, job.subject): job for job in self.plan.jobs.values() if job.kind not in GPU_JOBS}
        lines = []
        for name in datasets(self.targets, runs):
            dataset, sizes = self.targets.dataset(name), dataset_sizes(self.targets, name)
            jobs = [job for (_, subject), job in made.items() if subject == name]
            stores = sum(job.kind == "store" for job in self.plan.jobs.values() if job.subject == name)
            new = ("index", name) in made
            fetched = download_bytes(name, dataset) if new else 0.0
            disk = stores * store_bytes(dataset, sizes) + (fetched + video_bytes(name, dataset, sizes) if new else 0.0)
            if ("transcode", name) in made:
                disk += transcoded_bytes(dataset, sizes)
            threads = self.targets.project.resources.data.threads
            hours = sum(self.costs[job.key].seconds for job in jobs) * threads / HOUR
            lines.append(DataLine(name, sizes.videos, sizes.source, fetched, disk, hours))
        return lines

    def _basis(self) -> list[str]:
        lines = [self.throughput.assumption] if isinstance(self.throughput, Stated) else _measured(self.throughput)
        if self.targets.project.resources.train.gpu and not self.cuda:
            lines.append(
                "The configuration trains on GPUs, but the measurement is of a CPU: these are core hours of it. Probe "
                "on the machine that will train, or state `--throughput`."
            )
        lines.append("Operations are those of convolutions and matrix products, forward and backward.")
        if self.uncounted:
            methods = ", ".join(sorted(self.uncounted))
            lines.append(f"Those of {methods} are of the declared views, since a step of it cannot run without data.")
        lines.append("A store of temporal gradients has the size that noisy videos need; real ones need about half.")
        return lines


def _measured(probe: Probe) -> list[str]:
    busy = f" The machine's load was {probe.load:g} per core before it." if probe.load > 0.25 else ""
    counts = f"{len(probe.steps)} shapes of steps, {len(probe.evals)} of views, {len(probe.decodes)} of samples"
    threads = f"{probe.threads} thread{'' if probe.threads == 1 else 's'}"
    return [
        f"Measured on {probe.device}, {threads}, torch {probe.torch}, {probe.date}: {counts} in {probe.seconds:.0f} s."
        f"{busy}",
        f"A process takes {two(probe.start)} s to start. Steps were measured with augmentation and optimiser, decoding "
        "by itself.",
        *(f"{note[0].upper()}{note[1:]}." for note in probe.notes),
    ]
