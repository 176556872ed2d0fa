"""Which files each target needs: the input and params functions of the rules, by dictionary look-up only."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ssar.config import DatasetConfig, LabelsConfig, canonical
from ssar.errors import UserError
from ssar.grid import Grid, Run
from ssar.methods import METHODS, options_class
from ssar.methods.options import Stage
from ssar.project import JobResources


def resources(job: JobResources) -> dict[str, int]:
    """A stage's resources as Snakemake takes them; a job without a GPU asks for none."""
    return {"mem_mb": job.mem_mb, "runtime": job.runtime} | ({"gpu": job.gpu} if job.gpu else {})


WHOLE = ("all", "0")
"""Protocol and draw of a dataset that serves as another one's unlabelled videos."""


class Targets:
    """The grid as Snakemake's rules ask for it. Arguments are wildcard values."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.paths, self.project = grid, grid.paths, grid.project
        self.splits = {run.split_key: run.config.labels for run in grid.runs.values()}
        for run in grid.runs.values():
            if run.config.unlabelled is not None:
                self.splits.setdefault((run.config.unlabelled.dataset, *WHOLE), LabelsConfig(protocol=WHOLE[0]))
        self.stores = {
            (run.config.dataset, store): run.config for run in grid.runs.values() if (store := grid.store(run.config))
        }

    # --- datasets -----------------------------------------------------------------------------

    def dataset(self, name: str) -> DatasetConfig:
        return self.grid.dataset(name)

    def dataset_json(self, name: str) -> str:
        """A dataset's canonical JSON, the parameter of the rules that make and index its videos."""
        return canonical(self.dataset(name))

    def generated(self, name: str) -> list[str]:
        """What must exist before a dataset is indexed; nothing for a folder of the user's own."""
        kind = self.dataset(name).kind
        marker = {"synthact": "meta.csv", "download": "unpacked.json"}
        return [self.paths.data(name, marker[kind])] if kind in marker else []

    def video_root(self, name: str) -> str:
        """The folder that an index's paths are relative to."""
        dataset = self.dataset(name)
        if dataset.kind == "folder" and dataset.root:
            return os.path.expandvars(os.path.expanduser(dataset.root))
        if dataset.kind == "folder" and dataset.csv:
            return str(Path(os.path.expandvars(os.path.expanduser(dataset.csv))).parent)
        return self.paths.data(name, "videos")

    def labels_json(self, dataset: str, protocol: str, draw: str) -> str:
        """The label protocol of a split, as canonical JSON."""
        key = (dataset, protocol, draw)
        if key not in self.splits:
            known = sorted(f"{protocol}.d{draw}" for name, protocol, draw in self.splits if name == dataset)
            raise UserError(f"no run uses the split {protocol}.d{draw} of {dataset}; used: {', '.join(known)}")
        return canonical(self.splits[key])

    def store_json(self, dataset: str, interval: str, sign: str) -> str:
        """The temporal gradient of a store, as canonical JSON."""
        run = self.stores[dataset, self.paths.store(dataset, interval, sign)]
        return canonical(run.tg)

    # --- runs ---------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run:
        """A run of the grid. Raises UserError for an id that the configuration does not contain."""
        if run_id not in self.grid.runs:
            raise UserError(f"{run_id} is not a run of this configuration (was it edited since the job was planned?)")
        return self.grid.runs[run_id]

    def split(self, run_id: str) -> str:
        return self.paths.split(*self.run(run_id).split_key)

    def index(self, run_id: str) -> str:
        return self.paths.data(self.run(run_id).config.dataset, "index.csv")

    def store(self, run_id: str) -> list[str]:
        """The temporal-gradient store that training reads, or nothing."""
        store = self.grid.store(self.run(run_id).config)
        return [store] if store else []

    def test_store(self, run_id: str) -> list[str]:
        """The store that evaluation reads: only networks that see temporal gradients need one."""
        return self.store(run_id) if self.run(run_id).config.options.test_modality == "tg" else []

    def run_root(self, run_id: str) -> str:
        return self.video_root(self.run(run_id).config.dataset)

    def stage(self, name: Stage) -> str:
        """A regular expression of the ids of all runs that a training rule makes."""
        methods = "|".join(method for method, known in METHODS.items() if known.options.stage == name)
        return rf"[^./]+\.[^/]+\.(?:{methods})\.s\d+\.[0-9a-f]+"

    def upstream(self, run_id: str) -> list[str]:
        """The files of other runs that training reads."""
        return list(self.grid.upstream(self.run(run_id).config).values())

    def upstream_roles(self, run_id: str) -> list[str]:
        """The same as `role=file`."""
        return [f"{role}={path}" for role, path in self.grid.upstream(self.run(run_id).config).items()]

    def unlabelled(self, run_id: str) -> list[str]:
        """The split of the dataset that unlabelled videos come from, if it is another one."""
        other = self.run(run_id).config.unlabelled
        return [self.paths.split(other.dataset, *WHOLE)] if other else []

    def unlabelled_root(self, run_id: str) -> list[str]:
        other = self.run(run_id).config.unlabelled
        return [self.video_root(other.dataset)] if other else []

    # --- results ------------------------------------------------------------------------------

    def default(self) -> list[str]:
        """What `snakemake` without a target makes."""
        return [f"{self.project.results}/{target}" for target in self.project.targets]

    def ablation(self, paper: str, variant: str) -> list[str]:
        """The metrics of one variant in its paper's ablation setting, one per seed."""
        self._known(paper, variant)
        if options_class(self.grid.papers[paper].experiments[variant].method).stage == "pretrain_teacher":
            raise UserError(f"variant {variant} of {paper} is self-supervised: it has no classifier to evaluate")
        found = self.grid.results(paper, variant, self.grid.papers[paper].declared.ablation_setting)
        if not found:
            setting = self.grid.papers[paper].declared.ablation_setting
            raise UserError(f"setting {setting} is not at this scale: add it to `settings` of the configuration")
        return found

    def _known(self, paper: str, variant: str) -> None:
        if paper not in self.grid.papers:
            raise UserError(f"unknown paper `{paper}`; known: {', '.join(self.grid.papers)}")
        if variant not in self.grid.papers[paper].experiments:
            known = ", ".join(sorted(self.grid.papers[paper].experiments))
            raise UserError(f"unknown variant `{variant}` of {paper}; known: {known}")

    def _stem(self, stem: str) -> tuple[str, str]:
        """`ltg/table2`, or `table2` of the default paper."""
        paper, _, name = stem.rpartition("/")
        return paper or self.project.paper, name

    def table_json(self, stem: str) -> str:
        """A table with the metrics files of each of its cells: the one parameter of the table rule."""
        paper, name = self._stem(stem)
        declared = self._declared(
            "table", self.grid.papers[paper].tables if paper in self.grid.papers else {}, stem, name
        )
        cells = {
            f"{row}|{column}": self.grid.results(paper, variant, setting, declared.results)
            for row, column, variant, setting in declared.cells()
        }
        settings = {column.key: self.grid.setting(column.setting) for column in declared.columns if column.setting}
        value = {
            "spec": declared.model_dump(mode="json"),
            "cells": cells,
            "settings": {key: str(s) if s else None for key, s in settings.items()},
            "note": self.project.note,
            "views": self.grid.views(paper),
            "seeds": len(self.project.seeds),
        }
        return json.dumps(value, sort_keys=True)

    def table_inputs(self, stem: str) -> list[str]:
        return sorted({path for paths in json.loads(self.table_json(stem))["cells"].values() for path in paths})

    def figure_json(self, stem: str) -> str:
        """A figure with the runs that it draws: the one parameter of the figure rule."""
        paper, name = self._stem(stem)
        declared = self._declared(
            "figure", self.grid.papers[paper].figures if paper in self.grid.papers else {}, stem, name
        )
        runs = self._figure_runs(paper, declared)
        first = next(iter(runs.values()))
        value = {
            "spec": declared.model_dump(mode="json"),
            "runs": {variant: run.id for variant, run in runs.items()},
            "models": {variant: self.paths.run(run.id, "model.pt") for variant, run in runs.items()},
            "predictions": {
                variant: self.paths.evaluation(run.id, self.grid.views(paper), "predictions.npz")
                for variant, run in runs.items()
            },
            "split": self.paths.split(*first.split_key),
            "note": self.project.note,
        }
        return json.dumps(value, sort_keys=True)

    def _figure_runs(self, paper: str, declared: object) -> dict[str, Run]:
        runs = {}
        for variant, setting in declared.wanted():  # type: ignore[attr-defined]
            found = self.grid.select(paper, variant, setting)
            if not found:
                raise UserError(f"setting {setting} is not at this scale: add it to `settings` of the configuration")
            runs[variant] = found[0]
        return runs

    def figure_inputs(self, stem: str) -> list[str]:
        """The files that a figure reads, by its kind."""
        figure = json.loads(self.figure_json(stem))
        wanted = {"tg": [], "gradcam": ["models"], "tsne": ["predictions"]}[figure["spec"]["kind"]]
        return [figure["split"], *(path for kind in wanted for path in figure[kind].values())]

    def figure_root(self, stem: str) -> str:
        """The video folder of the dataset that a figure shows."""
        figure = json.loads(self.figure_json(stem))
        return self.run_root(next(iter(figure["runs"].values())))

    def _declared(self, what: str, known: dict, stem: str, name: str):  # type: ignore[no-untyped-def]
        if name not in known:
            raise UserError(f"no {what} `{stem}` is declared; declared: {', '.join(sorted(known)) or 'none'}")
        return known[name]

    def figure_stems(self) -> list[str]:
        return [f"{paper.name}/{name}" for paper in self.grid.papers.values() for name in paper.figures]
