"""From yaml to runs: what every table, figure and ablation of every paper needs at the chosen scale.

Layers of a run, the later wins: method, paper setting, experiment, the project's overrides, seed. Equal
settings share one run, whatever asks for them. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ssar.checks import PER_CLASS, PERCENT, protocol_problems, role_problems, run_problems
from ssar.config import DataIdentity, DatasetConfig, ListFile, RunConfig, canonical, digest, run_model
from ssar.errors import UserError
from ssar.experiments import Experiment, Paper, load_paper
from ssar.layers import Layer, merged, validate
from ssar.methods import options_class
from ssar.paths import Paths, sign_slug
from ssar.project import CONFIG, Project, Setting, dataset_layers, dataset_names, load_project
from ssar.reporting.sources import Source
from ssar.yamlfile import read_yaml


@dataclass(frozen=True)
class Run:
    """One training: its id, its settings and their canonical JSON."""

    id: str
    config: RunConfig
    canon: str

    @property
    def split_key(self) -> tuple[str, str, str]:
        """Dataset, protocol and draw, the last with `-rest` where labelled videos are not also unlabelled ones."""
        labels = self.config.labels
        return (
            self.config.dataset,
            labels.protocol,
            f"{labels.draw}{'' if labels.unlabelled_includes_labelled else '-rest'}",
        )


def is_drawn(protocol: str) -> bool:
    """Whether a label protocol is drawn at random, so that a seed is also a draw."""
    return bool(PER_CLASS.fullmatch(protocol) or PERCENT.fullmatch(protocol))


def _list_identity(item: ListFile) -> str:
    fold = f" split {item.fold}" if item.fold > 1 else ""
    return (item.sha256 or item.path) + fold + (" numbers as labels" if item.numbers == "labels" else "")


def data_identity(dataset: DatasetConfig, protocol: str) -> DataIdentity:
    """What of a dataset decides a run's weights under one label protocol."""
    roles = {"train": dataset.train, "test": dataset.test}
    if protocol in dataset.protocols:
        published = dataset.protocols[protocol]
        roles |= {"labelled": published.labelled, "unlabelled": published.unlabelled}
        roles["test"] = published.test or dataset.test
    return DataIdentity(
        synthact=dataset.synthact,
        lists={role: _list_identity(item) for role, item in roles.items() if item is not None},
        group_pattern=dataset.group_pattern,
        test_percent=dataset.test_percent,
        tg_source=dataset.tg_source,
        tg_codec=dataset.tg_codec,
        decode_short_side=dataset.decode_short_side,
        transcode=dataset.transcode,
    )


@dataclass
class Grid:
    """All runs that the papers' tables, figures and ablations need, by id.

    Building it validates every run; mistakes are collected and raised as one UserError.
    """

    project: Project
    files: Sequence[Path]
    runs: dict[str, Run] = field(default_factory=dict)
    _selected: dict[tuple[str, str, str], list[Run]] = field(default_factory=dict)
    _problems: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.paths = Paths(self.project.results)
        self.papers: dict[str, Paper] = {name: load_paper(name) for name in self.project.papers}
        self._check_names()
        for paper in self.papers.values():
            for variant, setting in paper.wanted():
                self._collect(paper, variant, setting)
        if self._problems:
            raise UserError.of("the configuration asks for runs that cannot work:", self._problems)

    # --- names --------------------------------------------------------------------------------

    @cached_property
    def datasets(self) -> dict[str, DatasetConfig]:
        """Datasets that have been asked for, by name; filled by `dataset`."""
        return {}

    def dataset(self, name: str) -> DatasetConfig:
        """A dataset's validated config. Raises UserError for an unknown name or a mistake in its yaml."""
        if name not in self.datasets:
            layers = dataset_layers(name, self.project, self.files)
            if not layers:
                raise UserError(f"unknown dataset `{name}`; known: {', '.join(dataset_names(self.project))}")
            if "kind" not in merged(layers):
                hint = _nearest(name, set(dataset_names(self.project)) - {name})
                raise UserError(f"key `datasets.{name}`: no such dataset, nor a new one without `kind`; {hint}")
            self.datasets[name] = validate(DatasetConfig, layers, f"dataset `{name}` has mistakes:")
        return self.datasets[name]

    def _check_names(self) -> None:
        known = {"all"}
        for paper in self.papers.values():
            known |= set(paper.experiments) | {experiment.method for experiment in paper.experiments.values()}
            known |= {f"{paper.name}/{variant}" for variant in paper.experiments}
        scopes: dict[str, Mapping[str, Any]] = {"overrides": self.project.overrides, "devices": self.project.devices}
        for key, name in ((key, name) for key, named in scopes.items() for name in named):
            if name not in known:
                hint = _nearest(name, known)
                self._problems[f"key `{key}.{name}`: neither `all`, a method nor a variant; {hint}"] = None
        self._check_settings()
        for name in self.project.datasets:  # those that nothing uses, too
            try:
                self.dataset(name)
            except UserError as error:
                self._problems |= dict.fromkeys(_problems(error))
        if self.project.paper not in self.papers:
            instead = f"`paper: {next(iter(self.papers))}` is one" if self.papers else "name it there"
            self._problems[f"key `paper`: `{self.project.paper}` is not among `papers`; {instead}"] = None

    def _check_settings(self) -> None:
        settings = {setting for paper in self.papers.values() for _, setting in paper.wanted()}
        unknown = [name for name in self.project.settings or {} if name not in settings]
        if unknown:  # an overlay may speak of papers that are not planned
            others = (path.name for path in (CONFIG / "papers").iterdir() if path.is_dir())
            settings |= {setting for name in others for _, setting in load_paper(name).wanted()}
        for name in unknown:
            if name not in settings:
                hint = _nearest(name, settings)
                self._problems[f"key `settings.{name}`: no paper has results in this setting; {hint}"] = None

    def setting(self, name: str) -> Setting | None:
        """What stands for a paper's setting (`dataset.labels`) at this scale; None when nothing does."""
        if self.project.settings is not None:
            return self.project.settings.get(name)
        return Setting.named(name)

    # --- runs ---------------------------------------------------------------------------------

    def select(self, paper: str, variant: str, setting: str) -> list[Run]:
        """The runs of a variant in a setting, one per seed; empty when the setting is not at this scale."""
        return self._selected.get((paper, variant, setting), [])

    def selected(self) -> list[tuple[str, str, str]]:
        """Every (paper, variant, setting) that has runs at this scale."""
        return list(self._selected)

    def _collect(self, paper: Paper, variant: str, name: str) -> None:
        setting = self.setting(name)
        key = (paper.name, variant, name)
        if setting is None or key in self._selected:
            return
        self._selected[key] = []
        experiment = paper.experiments[variant]
        for wanted in experiment.needs.values():
            self._collect(paper, wanted, name)
        try:
            dataset = self.dataset(setting.dataset)
            problems = list(protocol_problems(setting.dataset, dataset, setting.labels))
            if not problems:
                base = self._validated(paper, variant, name, setting, dataset)
                found = [*run_problems(base, dataset), *role_problems(base, experiment.needs)]
                problems = [f"{paper.file}, variant `{variant}`: {problem}" for problem in found]
                needed = {role: self.select(paper.name, wanted, name) for role, wanted in experiment.needs.items()}
                if all(needed.values()):  # else there is a mistake in one of them, which is told there
                    self._selected[key] = [
                        self._seeded(
                            base, seed + experiment.seed_offset, {role: runs[i] for role, runs in needed.items()}
                        )
                        for i, seed in enumerate(self.project.seeds)
                    ]
        except UserError as error:
            problems = _problems(error)
        self._problems |= dict.fromkeys(problems)

    def _validated(self, paper: Paper, variant: str, name: str, setting: Setting, dataset: DatasetConfig) -> RunConfig:
        experiment = paper.experiments[variant]
        layers = list(self._layers(paper, variant, experiment, name))
        # without labels all protocols are one, and share their runs
        supervised = options_class(experiment.method).needs_labelled
        protocol = setting.labels if supervised else "all"
        fixed: dict[str, Any] = {
            "method": experiment.method,
            "dataset": setting.dataset,
            "data": data_identity(dataset, protocol).model_dump(exclude_defaults=True),
            "labels": {
                "protocol": protocol,
                "unlabelled_includes_labelled": setting.unlabelled_includes_labelled if supervised else True,
            },
        }
        if setting.unlabelled is not None:
            other = data_identity(self.dataset(setting.unlabelled), "all").model_dump(exclude_defaults=True)
            fixed["unlabelled"] = {"dataset": setting.unlabelled, "data": other}
        layers.insert(0, Layer(fixed, paper.file))
        run = validate(run_model(experiment.method), layers, f"variant `{variant}` of {paper.name} has mistakes:")
        # a method that reads no unlabelled videos is the same run wherever they come from
        return run if run.options.needs_unlabelled else run.model_copy(update={"unlabelled": None})

    def _layers(self, paper: Paper, variant: str, experiment: Experiment, setting: str) -> Iterator[Layer]:
        file = CONFIG / "methods" / f"{experiment.method}.yaml"
        method = read_yaml(file)
        variants = method.pop("variants", {})
        yield Layer(method, file)
        dataset = setting.partition(".")[0]
        for part in (dataset, f"{dataset}/{experiment.method}", setting, f"{setting}/{experiment.method}"):
            if part in paper.settings:
                yield Layer(paper.settings[part], paper.file, ("settings", part), dotted=True)
        if experiment.base is not None:
            if experiment.base not in variants:
                known = ", ".join(sorted(variants)) or "none"
                raise UserError(
                    f"{paper.file}: variant `{variant}`: {file} has no variant `{experiment.base}` (known: {known})"
                )
            yield Layer(variants[experiment.base], file, ("variants", experiment.base), dotted=True)
        yield Layer(experiment.set, paper.file, ("experiments", variant, "set"), dotted=True)
        for scope in ("all", experiment.method, variant, f"{paper.name}/{variant}"):
            if scope in self.project.overrides:
                where = next(
                    (path for path in reversed(self.files) if scope in read_yaml(path).get("overrides", {})),
                    Path("--config"),
                )
                yield Layer(self.project.overrides[scope], where, ("overrides", scope), dotted=True)

    def _seeded(self, base: RunConfig, seed: int, upstream: Mapping[str, Run]) -> Run:
        draw = seed if is_drawn(base.labels.protocol) else 0
        labels = base.labels.model_copy(update={"draw": draw})
        needed = {role: run.id for role, run in upstream.items()}
        config = base.model_copy(update={"seed": seed, "labels": labels, "upstream": needed})
        canon = canonical(config)
        run_id = f"{config.dataset}.{config.labels.protocol}.{config.method}.s{seed}.{digest(canon)}"
        run = self.runs.setdefault(run_id, Run(run_id, config, canon))
        if run.canon != canon:
            raise UserError(f"two different runs share the id {run_id}: change any setting of one of them")
        return run

    # --- what a target needs ------------------------------------------------------------------

    def upstream(self, run: RunConfig) -> dict[str, str]:
        """The files that other runs make for this one, by role.

        `scores` is no run: it is computed from the networks that the two teachers were before they were fine-tuned
        (TimeBalance Algorithm 1, line 16).
        """
        files = {role: self.paths.run(run_id, "model.pt") for role, run_id in run.upstream.items()}
        if "scores" in run.options.roles:
            teachers = [self.runs[run.upstream[role]].config for role in ("invariant", "distinctive")]
            files["scores"] = self.paths.scores(*(teacher.upstream["init"] for teacher in teachers))
        return files

    def views(self, paper: str, condition: str = "") -> str:
        """The slug of the evaluation protocol that a paper's tables use at this scale."""
        return self.papers[paper].views(self.project.views, condition)

    def results(self, paper: str, source: Source) -> list[str]:
        """Paths of what a table, a figure or a claim reads, one per seed; none for a setting not at this scale."""
        runs = self.select(paper, source.variant, source.setting)
        match source.role:
            case "metrics" | "predictions":
                name = {"metrics": "metrics.json", "predictions": "predictions.npz"}[source.role]
                return [self.paths.evaluation(run.id, self.views(paper, source.condition), name) for run in runs]
            case "architecture":  # has no seeds
                return [self.paths.run(run.id, "architecture.json") for run in runs[:1]]
            case "scores":
                return [self.upstream(run.config)["scores"] for run in runs]
            case "model" | "record" | "curves":
                name = {"model": "model.pt", "record": "pseudo_labels.npz", "curves": "curves.csv"}[source.role]
                return [self.paths.run(run.id, name) for run in runs]

    def store(self, run: RunConfig) -> str | None:
        """The temporal-gradient store that a run reads, if it reads one."""
        if "tg" not in run.options.modalities or run.data.tg_source != "store":
            return None
        return self.paths.store(run.dataset, run.tg.interval, sign_slug(run.tg.sign))


def _problems(error: UserError) -> list[str]:
    """What an error lists, or its only line."""
    lines = str(error).splitlines()[1:] or [str(error)]
    return [line.removeprefix("  - ") for line in lines]


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"


def build(files: Sequence[Path], values: Mapping[str, Any] | None = None) -> Grid:
    """The grid of a configuration; see `ssar.project.load_project`."""
    return Grid(load_project(files, values), files)
