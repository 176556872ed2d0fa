"""Campaigns: Snakemake with the project's SLURM profile, in folders of their own, and what can be seen of it."""

from __future__ import annotations

import copy
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ssar.engine.state import Attempt, newest_checkpoint
from tests.slurm.cluster import Cluster
from tests.slurm.processes import wait_for
from tests.workflow.conftest import TINY

ROOT = Path(__file__).parents[2]
PATIENCE = 400.0
"""Seconds after which a test gives up waiting for anything."""


def tiny(steps: int, **train: object) -> dict[str, Any]:
    """A configuration of the smallest trainings there are, with this many steps and a checkpoint every other second."""
    config = copy.deepcopy(TINY)
    config["overrides"]["all"]["train"] |= {"steps": steps, **train}
    config["runtime"] |= {"checkpoint_minutes": 1 / 30, "log_every": 20}
    config["targets"] = []
    return config


def tensors(model: Path) -> dict[str, Tensor]:
    """All tensors of a model.pt, by their path in the file."""

    def walk(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from walk(item, f"{name}/{key}")

    return dict(walk(torch.load(model, weights_only=True), ""))


def copy_checkout(to: Path) -> Path:
    """A fresh checkout: the files that git knows or would take, and the environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    (to / ".venv").symlink_to(Path(sys.prefix))
    return to


class Controller:
    """A running Snakemake."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.log = folder / f"controller-{time.time_ns()}.log"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status. A controller that does not end is interrupted, and TimeoutExpired raised."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)
            raise

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


@dataclass
class Campaign:
    """A folder in which Snakemake makes the targets of one configuration, the jobs running in SLURM.

    `checkout`: where the Snakefile and the profile are.
    """

    checkout: Path
    folder: Path
    config: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    controllers: list[Controller] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(dict(self.config)))

    @property
    def file(self) -> Path:
        return self.folder / "campaign.yaml"

    @property
    def results(self) -> Path:
        return self.folder / str(self.config["results"])

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.checkout / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SSAR_SLURM_"))}
        return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", **self.variables}

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call the project's executable."""
        return subprocess.run(
            ["python", str(self.checkout / "workflow/cli.py"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def runs(self) -> dict[str, str]:
        """The runs' ids, each with the variants and settings that want it."""
        listed = self.cli("config", "grid", "--configfile", str(self.file))
        assert listed.returncode == 0, listed.stderr
        rows = csv.DictReader(listed.stdout.splitlines(), delimiter="\t")
        return {row["run"]: row["wanted_by"] for row in rows}

    def snakemake(self, *arguments: str, slurm: bool = True) -> list[str]:
        """The command line. On the cluster finished jobs are noticed sooner than a large site would want it."""
        where = (
            ["--profile", str(self.checkout / "slurm"), "--slurm-init-seconds-before-status-checks", "5"]
            if slurm
            else ["--cores", "2", "--rerun-incomplete"]
        )
        return [
            *("snakemake", "--snakefile", str(self.checkout / "Snakefile"), *where),
            *(*arguments, "--configfile", str(self.file)),
        ]

    def start(self, *targets: str, slurm: bool = True) -> Controller:
        """Start Snakemake."""
        self.controllers.append(Controller(self.snakemake(*targets, slurm=slurm), self.folder, self.environment))
        return self.controllers[-1]

    def end(self, cluster: Cluster) -> None:
        """End every Snakemake and every job of this campaign that a test has left behind."""
        for controller in self.controllers:
            if controller.process.poll() is None:
                controller.kill()
        waiting = cluster.queue()
        for job in cluster.jobs():
            if job["JobId"] in waiting and job["WorkDir"] == str(self.folder):
                cluster.cancel(job["JobId"])

    def run(self, *targets: str, slurm: bool = True) -> str:
        """What Snakemake prints in a call that must succeed."""
        controller = self.start(*targets, slurm=slurm)
        status = controller.wait()
        assert status == 0, f"{controller.text[-4000:]}\n{self.told()}"
        return controller.text

    def told(self) -> str:
        """The ends of all logs of the jobs."""
        logs = sorted(self.results.glob("logs/*/*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)

    # --- one run ------------------------------------------------------------------------------------

    def model(self, run: str) -> str:
        """The target that trains a run and does nothing else."""
        return f"{self.config['results']}/runs/{run}/model.pt"

    def state(self, run: str) -> Path:
        return self.results / "state" / run

    def log(self, run: str) -> str:
        """The log of a training's newest attempt."""
        found = list(self.results.glob(f"logs/*/{run}.log"))
        return found[0].read_text(errors="replace") if found else ""

    def attempt(self, run: str) -> Attempt | None:
        return Attempt.read(self.state(run))

    def checkpoint(self, run: str) -> int:
        """The step of the newest checkpoint; 0 where there is none."""
        return newest_checkpoint(self.state(run)) or 0

    def job(self, run: str) -> str:
        """The SLURM job of the newest attempt."""
        attempt = self.attempt(run)
        assert attempt is not None, f"{run} has not been started"
        assert attempt.job is not None, f"{run} does not run in SLURM"
        return attempt.job

    def await_checkpoint(self, run: str, controller: Controller, beyond: int = 0, attempt: int = 1) -> int:
        """Wait for a checkpoint beyond a step, by an attempt; its step. The run must not end meanwhile."""

        def there() -> bool:
            known = self.attempt(run)
            assert not (self.folder / self.model(run)).exists(), f"{run} ended before the fault"
            assert controller.process.poll() in (None, -signal.SIGKILL), controller.text[-4000:] + self.told()
            return known is not None and known.attempt >= attempt and self.checkpoint(run) > beyond

        assert wait_for(there, PATIENCE), f"no checkpoint of attempt {attempt} beyond step {beyond}\n{self.told()}"
        return self.checkpoint(run)
