"""The project's configuration: what `config/config.yaml` and an overlay (`--configfile`) say together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from ssar.errors import UserError
from ssar.layers import Layer, explain, merged
from ssar.options import Closed, Positive, option
from ssar.runtime import Runtime
from ssar.views import Views
from ssar.yamlfile import read_yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"


class Setting(Closed):
    """A dataset with a label protocol."""

    dataset: str = option(about="name of a dataset")
    labels: str = option(about="all, per-class-N, percent-P, or one of the dataset's published protocols")
    unlabelled_includes_labelled: bool = option(True, about="whether labelled videos are also unlabelled ones")
    unlabelled: str | None = option(None, about="another dataset whose training videos are the unlabelled ones")

    @classmethod
    def named(cls, name: str) -> Setting:
        """`dataset.labels`, or `dataset.labels+dataset` with unlabelled videos of another one."""
        own, _, other = name.partition("+")
        dataset, _, labels = own.partition(".")
        return cls(dataset=dataset, labels=labels, unlabelled=other or None)

    def __str__(self) -> str:
        return f"{self.dataset}.{self.labels}" + (f"+{self.unlabelled}" if self.unlabelled else "")


class JobResources(Closed):
    """What one job of a stage asks of the machine or the cluster."""

    threads: Positive = option(1, about="CPU threads")
    mem_mb: Positive = option(4000, about="memory in MB")
    runtime: Positive = option(60, about="minutes before the cluster ends the job")
    gpu: int = option(0, about="GPUs", ge=0)


class Resources(Closed):
    """Resources of each family of rules."""

    train: JobResources = option(JobResources(), about="training; `mem_mb`, `threads` and `gpu` are of each device")
    predict: JobResources = option(JobResources(), about="prediction and Grad-CAM")
    data: JobResources = option(JobResources(), about="fetching, generating, indexing and extracting")


class Devices(Closed):
    """Devices of some trainings."""

    devices: Positive | None = option(None, about="on each node; none: `runtime.devices`")
    nodes: Positive | None = option(None, about="none: `runtime.nodes`")


class CostOptions(Closed):
    """What `results/cost.md` assumes; `cli.py cost` takes the same as options."""

    throughput: float | None = option(None, about="effective TFLOP/s of a device; none: measured by the probe", gt=0)
    seconds: float = option(60.0, about="how long the probe measures", gt=0)
    gpus: Positive = option(1, about="devices that the wall time is of")
    budget: float | None = option(None, about="device hours: which targets fit into them", gt=0)


class Project(Closed):
    """Everything that the Snakefile reads."""

    paper: str = option(about="the paper whose tables need no folder in their path: results/tables/table2.tex")
    papers: tuple[str, ...] = option(about="folders of config/papers that are planned")
    results: str = option(
        "results", about="folder of everything that is made; `~` and environment variables are replaced"
    )
    seeds: tuple[int, ...] = option(about="training seeds; for drawn label protocols also the draws", min_length=1)
    targets: tuple[str, ...] = option(
        (), about="what `snakemake` without a target makes, relative to `results`; none: all tables, figures and claims"
    )
    settings: dict[str, Setting] | None = option(
        None, about="settings of the papers that exist at this scale, and what stands for them; none: all, as they are"
    )
    overrides: dict[str, dict[str, Any]] = option(
        {}, about="settings applied last: under `all`, a method's name, a variant's name, `paper/variant`"
    )
    views: str | None = option(None, about="evaluation views instead of the papers' own, e.g. 2x1")
    note: str | None = option(None, about="footnote of every table: why its numbers are not the published ones")
    datasets: dict[str, dict[str, Any]] = option({}, about="datasets, or changes of those in config/datasets, by name")
    runtime: Runtime = option(Runtime(), about="devices, decoding processes and checkpoints")
    devices: dict[str, Devices] = option(
        {},
        about="devices of some trainings instead of those in `runtime`, by the same names as in `overrides`; a "
        "training takes as many of them as divide its shares",
    )
    cost: CostOptions = option(CostOptions(), about="the forecast of what the targets cost")
    resources: Resources = option(Resources(), about="threads, memory, time and GPUs of the jobs")

    @field_validator("results")
    @classmethod
    def _is_a_folder(cls, results: str) -> str:
        return results_folder(results)

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if negative := [str(seed) for seed in seeds if seed < 0]:
            raise ValueError(f"seeds are 0 or above, not {', '.join(negative)}")
        if twice := [str(seed) for seed, count in Counter(seeds).items() if count > 1]:
            raise ValueError(f"{', '.join(twice)} given twice: the same run is not another one")
        return seeds

    @field_validator("views")
    @classmethod
    def _are_views(cls, views: str | None) -> str | None:
        if views is not None:
            try:
                Views.parse(views, "logits")
            except UserError as error:
                raise ValueError(str(error)) from None
        return views


def results_folder(text: str) -> str:
    """The path of a results folder as targets spell it: `~` and variables replaced, no `./`, no `/` at its end.

    Raises ValueError for an empty one, and for a variable that is not set.
    """
    path = os.path.expandvars(os.path.expanduser(text.strip()))
    if not path or "$" in path:
        raise ValueError("an environment variable in it is not set" if path else "the name of a folder is needed")
    return os.path.normpath(path)


def load_project(files: Sequence[Path], values: Mapping[str, Any] | None = None) -> Project:
    """The project of config.yaml and its overlays.

    `values` is the mapping that a caller has merged already (Snakemake, with its `--config`); then the
    files only tell where a mistake stands. Raises UserError that lists every mistake.
    """
    layers = [Layer(read_yaml(path), path) for path in files]
    if values is not None:
        layers = [Layer(values, Path("--config")), *layers]
    try:
        return Project.model_validate(merged(layers) if values is None else values)
    except ValidationError as error:
        raise UserError.of("the configuration has mistakes:", explain(error, Project, layers)) from None


def dataset_layers(name: str, project: Project, files: Sequence[Path]) -> list[Layer]:
    """The layers of one dataset: its file under config/datasets and the project's changes of it."""
    file = CONFIG / "datasets" / f"{name}.yaml"
    layers = [Layer(read_yaml(file), file)] if file.is_file() else []
    if name in project.datasets:
        key = ("datasets", name)
        where = next(
            (path for path in reversed(files) if name in read_yaml(path).get("datasets", {})), Path("--config")
        )
        layers.append(Layer(project.datasets[name], where, key))
    return layers


def dataset_names(project: Project) -> list[str]:
    """All datasets that a setting may name."""
    return sorted({path.stem for path in (CONFIG / "datasets").glob("*.yaml")} | set(project.datasets))
