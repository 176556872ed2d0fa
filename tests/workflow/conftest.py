"""Really running the workflow, on a configuration small enough to end in seconds."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SETTING = "ucf101.videossl-20"

TINY: dict[str, Any] = {
    "papers": ["ltg"],
    "results": "out",
    "seeds": [0],
    "views": "2x1@16",
    "note": "A test.",
    "settings": {SETTING: {"dataset": "synthact", "labels": "per-class-2"}},
    "datasets": {
        "synthact": {
            "synthact": {
                "classes": 2,
                "train_per_class": 4,
                "test_per_class": 2,
                "width": 64,
                "height": 48,
                "min_frames": 12,
                "max_frames": 16,
            },
        }
    },
    "overrides": {
        "all": {
            "precision": "32-true",
            "channels_last": False,
            "clip": {"frames": 4, "stride": 2},
            "augment.weak": {"short_side": 18, "size": 16},
            "model": {"depth": 10, "width": 0.125},
            "optim": {"lr": 0.01, "warmup_epochs": 0},
            "train": {
                "epochs": None,
                "steps": 3,
                "labelled": 2,
                "unlabelled": 2,
                "global_labelled": None,
                "supervised_warmup_epochs": 0,
                "precise_bn": 0,
            },
        },
        "ltg": {"options.projection": [8, 8, 8]},
    },
    "runtime": {"accelerator": "cpu", "workers": 0, "checkpoint_minutes": 0, "log_every": 1},
    "resources": {
        "train": {"threads": 1, "mem_mb": 2000, "gpu": 0},
        "predict": {"threads": 1, "mem_mb": 2000, "gpu": 0},
        "data": {"threads": 2, "mem_mb": 1000},
    },
}


def with_values(**dotted: object) -> dict[str, Any]:
    """TINY with some values replaced; keys are paths joined by `__`."""
    config = copy.deepcopy(TINY)
    for key, value in dotted.items():
        group = config
        *parents, last = key.split("__")
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = value
    return config


@dataclass
class Workspace:
    """A folder in which Snakemake runs, and the configuration that it runs with."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "tiny.yaml"

    def configure(self, values: Mapping[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(dict(values)))

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(self.folder), "--configfile", str(self.config), "--cores", "2"),
            *arguments,
        ]

    @property
    def environment(self) -> dict[str, str]:
        # rules run `python`: that of the environment which runs the tests
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=550,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """The output of a call that must succeed."""
        done = self.snakemake(*arguments)
        logs = "\n".join(f"{file}:\n{file.read_text()[-3000:]}" for file in self.folder.glob("out/logs/**/*.log"))
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{logs}"
        return done.stdout

    def planned(self, *targets: str) -> dict[str, int]:
        """How often a dry run plans each rule."""
        return job_counts(self.run("--dry-run", *targets))


def job_counts(text: str) -> dict[str, int]:
    """Snakemake's table of job counts, by rule."""
    table = text.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = Workspace(tmp_path)
    space.configure(TINY)
    return space
