"""What differs from one SLURM cluster to the next: slurm/site.yaml and the environment variables SSAR_SLURM_<KEY>.

A cluster with a default partition and no accounts needs neither: every key may be absent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, field_validator

from ssar.layers import Layer, validate
from ssar.options import Closed, Positive, option
from ssar.project import ROOT
from ssar.yamlfile import read_yaml

FILE = ROOT / "slurm" / "site.yaml"
PREFIX = "SSAR_SLURM_"

_OWN_KEY = {
    "partition": r"--partition\b|(?<!\S)-p",
    "account": r"--account\b|(?<!\S)-A",
    "qos": r"--qos\b|(?<!\S)-q",
    "constraint": r"--constraint\b|(?<!\S)-C",
}
_FROM_CONFIG = r"--(mem|mem-per-cpu|time|ntasks|cpus-per-task|cpus-per-gpu|gres|gpus|nodes)(?=[=\s]|$)|(?<!\S)-[tncN]"
_FROM_PROFILE = r"--(signal|requeue|no-requeue|output|error|job-name|export|comment|parsable)\b|(?<!\S)-[oeJD]"


class Site(Closed):
    """Keys of slurm/site.yaml. None or empty: the cluster's default."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # an account may be a number

    partition: str | None = option(None, about="partition of jobs with GPUs, and of all without `cpu_partition`")
    cpu_partition: str | None = option(None, about="partition of the jobs without GPUs")
    account: str | None = option(None, about="account that the jobs are charged to")
    qos: str | None = option(None, about="quality of service")
    constraint: str | None = option(None, about="features that a node of `partition` must have")
    gpu_name: str | None = option(None, about="type of GPU as the cluster's GRES calls it, e.g. a100")
    modules: tuple[str, ...] = option((), about="environment modules that each job loads")
    max_mem_mb: Positive | None = option(None, about="memory of a node: a job that is tried again never asks for more")
    max_minutes: Positive | None = option(None, about="time limit of the partition: no job ever asks for more")
    extra: str | None = option(None, about="further options of sbatch, as they are")
    downloads: Literal["here", "jobs"] = option(
        "here", about="download beside Snakemake, where the internet usually is, or in jobs on compute nodes"
    )

    @field_validator("partition", "cpu_partition", "account", "qos", "constraint", "gpu_name", "extra", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        # sbatch would be given an empty one as such
        return None if value == "" else value

    @field_validator("modules", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("modules")
    @classmethod
    def _plain(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[\w.+/@:=~-]+", name):
                raise ValueError(f"`{name}` is no name of a module")
        return value

    @field_validator("gpu_name")
    @classmethod
    def _gres_type(cls, value: str | None) -> str | None:
        # what Snakemake's executor lets through
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_.]+", value):
            raise ValueError("a type of GPU has letters, digits, `_` and `.` only; name others by `constraint`")
        return value

    @field_validator("extra")
    @classmethod
    def _allowed(cls, value: str | None) -> str | None:
        # told here, where the key is known, and not by the executor at the first job
        for key, pattern in _OWN_KEY.items():
            if value and (found := re.search(pattern, value)):
                raise ValueError(f"`{found[0].strip()}` has a key of its own: `{key}`")
        if value and (found := re.search(_FROM_CONFIG, value)):
            raise ValueError(f"`{found[0].strip()}` follows from `resources` and `runtime` of the configuration")
        if value and (found := re.search(_FROM_PROFILE, value)):
            raise ValueError(f"`{found[0].strip()}` is set for every job already")
        return value

    def partition_of(self, gpu: bool) -> str | None:
        """The partition of a job with or without GPUs."""
        return self.partition if gpu else self.cpu_partition or self.partition

    @classmethod
    def read(
        cls, file: Path = FILE, environment: Mapping[str, str] | None = None, given: Mapping[str, Any] | None = None
    ) -> Site:
        """The site's keys; `given` (a command line's) over the environment over the file, which need not exist.

        Raises UserError with file and key for an unknown key or a value that cannot be.
        """
        environment = os.environ if environment is None else environment
        layers = [Layer(read_yaml(file), file)] if file.is_file() else []
        variables = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and value
        }
        if variables:
            layers.append(Layer(variables, Path(f"environment variables {PREFIX}*")))
        if given:
            layers.append(Layer(given, Path("command line")))
        return validate(cls, layers, "the keys of the SLURM site have mistakes:")
