"""What each job asks of the machine or the cluster: `threads` and `resources` as the rules take them.

Snakemake evaluates these functions for every job of a plan, so each is a few look-ups. None of them can make a file
anew: Snakemake compares parameters and inputs, not resources. Elsewhere than on SLURM the strings mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ssar.cost.limits import Limits
from ssar.project import JobResources
from ssar.runtime import Runtime
from ssar.slurm.site import Site
from ssar.targets import Targets

WARNING = "--signal=URG@120"
"""Two minutes before its time limit a training is told to save its state. SIGURG is ignored by all that do not handle
it; SIGUSR1 would end the Snakemake process inside the job."""


class Wildcards(Protocol):
    """The wildcards of a rule about runs."""

    run: str
    views: str


@dataclass(frozen=True)
class Placement:
    """How the processes of one job lie on nodes: `devices` on each of `nodes`, with `gpus` for each device."""

    devices: int
    nodes: int
    gpus: int

    @classmethod
    def of(cls, runtime: Runtime, job: JobResources) -> Placement:
        return cls(runtime.devices, runtime.nodes, job.gpu)

    def resources(self, site: Site) -> dict[str, Any]:
        """As the SLURM executor takes them.

        On one node the job is one task that starts its processes itself. On several, `mpi` makes the executor leave
        starting them to the job, which does it by srun with a task for each device; `tasks_per_gpu` of 0 and the number
        of tasks on a node keep SLURM from another layout.
        """
        found: dict[str, Any] = {"nodes": self.nodes}
        gpus = self.devices * self.gpus
        if self.nodes == 1:
            found |= {"gpu": gpus or None, "gpu_model": site.gpu_name if gpus else None}
        else:
            model = f"{site.gpu_name}:" if site.gpu_name else ""
            found |= {
                "mpi": "srun",
                "tasks": self.nodes * self.devices,
                "tasks_per_gpu": 0,
                "gres": f"gpu:{model}{gpus}" if gpus else None,
            }
        return {key: value for key, value in found.items() if value is not None}

    @property
    def layout(self) -> str:
        """What sbatch must hear on top."""
        return f"--ntasks-per-node={self.devices}" if self.nodes > 1 else ""


class Requests:
    """The requests of all rules under one configuration on one site."""

    def __init__(self, targets: Targets, site: Site) -> None:
        self.targets, self.site = targets, site
        self.config = targets.project.resources
        self.limits = Limits.read(Path(targets.paths.limits))

    # --- families of rules --------------------------------------------------------------------

    def data(self) -> dict[str, Any]:
        """Rules that fetch, generate, index and read videos."""
        return self._fixed(self.config.data, Runtime())

    def probe(self) -> dict[str, Any]:
        """What one device of a training has."""
        return self._fixed(self.config.train, Runtime())

    def predict(self) -> dict[str, Any]:
        """Rules that run a trained network."""
        runtime = self.targets.project.runtime
        job = self.config.predict

        def minutes(wildcards: Wildcards, attempt: int) -> int:
            views = getattr(wildcards, "views", None)
            if self.limits is None or views is None:
                return self._minutes(job.runtime)
            found = self.limits.minutes(wildcards.run, job.runtime, attempt, views=views, devices=runtime.world)
            return self._minutes(found)

        return self._fixed(job, runtime) | {"runtime": minutes}

    def train(self) -> dict[str, Any]:
        """Rules that train."""
        job = self.config.train

        @cache
        def placed(runtime: Runtime) -> dict[str, Any]:
            return self._fixed(job, runtime, WARNING)

        def of(key: str) -> Callable[[Wildcards], Any]:
            return lambda wildcards: placed(self.targets.runtime_of(wildcards.run)).get(key)

        def minutes(wildcards: Wildcards, attempt: int) -> int:
            if self.limits is None:
                return self._minutes(job.runtime)
            world = self.targets.runtime_of(wildcards.run).world
            return self._minutes(self.limits.minutes(wildcards.run, job.runtime, attempt, devices=world))

        def memory(wildcards: Wildcards, attempt: int) -> int:
            return self._memory(job.mem_mb * self.targets.runtime_of(wildcards.run).devices, attempt)

        runtimes = {self.targets.runtime_of(run) for run in self.targets.grid.runs} or {self.targets.project.runtime}
        keys = {key for runtime in runtimes for key in placed(runtime)}
        fixed = dict(placed(*runtimes)) if len(runtimes) == 1 else {key: of(key) for key in sorted(keys)}
        return fixed | {"runtime": minutes, "mem_mb": memory}

    # --- threads ------------------------------------------------------------------------------

    def train_threads(self, run_id: str) -> int:
        """CPUs of a training's task: on one node there is one task for all devices, on several one for each."""
        runtime = self.targets.runtime_of(run_id)
        return self.config.train.threads * (runtime.devices if runtime.nodes == 1 else 1)

    def threads_of_device(self, run_id: str, threads: int) -> int:
        """What each process gets of the threads that the job was given."""
        runtime = self.targets.runtime_of(run_id)
        return max(1, threads // runtime.devices) if runtime.nodes == 1 else threads

    def predict_threads(self) -> int:
        """CPUs of a prediction's task."""
        runtime = self.targets.project.runtime
        return self.config.predict.threads * (runtime.devices if runtime.nodes == 1 else 1)

    def predict_threads_of_device(self, threads: int) -> int:
        """What each process gets of them."""
        runtime = self.targets.project.runtime
        return max(1, threads // runtime.devices) if runtime.nodes == 1 else threads

    # --- parts --------------------------------------------------------------------------------

    def _fixed(self, job: JobResources, runtime: Runtime, *options: str) -> dict[str, Any]:
        """Everything that does not depend on the run or the attempt, and a memory and a time limit that may."""
        site, place = self.site, Placement.of(runtime, job)
        # the features of GPU nodes are not those of a partition without any
        here = job.gpu > 0 or site.cpu_partition is None
        extra = " ".join(filter(None, (*options, place.layout, site.extra)))
        names = {
            "slurm_partition": site.partition_of(job.gpu > 0),
            "slurm_account": site.account,
            "qos": site.qos,
            "constraint": site.constraint if here else None,
            "slurm_extra": extra or None,
        }

        def memory(wildcards: Any, attempt: int) -> int:
            return self._memory(job.mem_mb * runtime.devices, attempt)

        given = {key: value for key, value in names.items() if value is not None}
        return {"mem_mb": memory, "runtime": self._minutes(job.runtime)} | given | place.resources(site)

    def _memory(self, mem_mb: int, attempt: int) -> int:
        """More at each attempt, since a job that ran out of memory does so again; never more than a node has."""
        return min(mem_mb * attempt, self.site.max_mem_mb or mem_mb * attempt)

    def _minutes(self, minutes: int) -> int:
        return min(minutes, self.site.max_minutes or minutes)
