"""Which files each target needs: the input and params functions of the rules, by dictionary look-up only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

from ssar.config import DatasetConfig, LabelsConfig, ListSplit, canonical, digest
from ssar.data.completeness import Completeness, completeness_path
from ssar.devices import runtimes
from ssar.errors import UserError
from ssar.experiments import Paper, load_paper
from ssar.grid import Grid, Run
from ssar.methods import METHODS, options_class
from ssar.methods.options import Stage
from ssar.project import CONFIG
from ssar.reporting.disagreements import disagreements
from ssar.reporting.figures.spec import FigureSpec
from ssar.reporting.flags import sentences
from ssar.reporting.sources import Source
from ssar.reporting.spec import TableSpec
from ssar.runtime import Runtime
from ssar.views import Views

REPORT = "report.html"
ALL = "all"
"""Stands for all tables of a paper: `tables/<paper>/all.pdf`."""

BENCHMARK = "benchmark"
"""The folder of config/papers that compares all methods, and its main table."""

HEAVY = frozenset({"tg", "gradcam", "tsne", "lookalikes", "similarity", "resampling"})
"""Kinds of figures that open videos, run networks or embed features; the others draw numbers from small files."""

WHOLE = ("all", "0")
"""Protocol and draw of a dataset that serves as another one's unlabelled videos."""

OFFICIAL = "train+test"
"""Stands for the training and the test list of a dataset, where others stand for those of a label protocol."""

BESIDE_INDEX = {
    *("about", "files", "licence", "citation", "videos", "index_jobs", "transcode_jobs", "protocols", "allow_missing"),
    *("keep_archives", "test_percent", "tg_source", "tg_codec", "decode_short_side"),
}
"""Options of a dataset that change nothing in its index."""

ADDRESS = {"url": True}
"""Of a list: another address of the same file makes nothing anew."""


def _short(stem: str) -> str:
    """The table of all methods has no folder."""
    return BENCHMARK if stem == f"{BENCHMARK}/{BENCHMARK}" else stem


class Targets:
    """The grid as Snakemake's rules ask for it. Arguments are wildcard values."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.paths, self.project = grid, grid.paths, grid.project
        self.splits = {run.split_key: run.config.labels for run in grid.runs.values()}
        for run in grid.runs.values():
            if run.config.unlabelled is not None:
                self.splits.setdefault((run.config.unlabelled.dataset, *WHOLE), LabelsConfig(protocol=WHOLE[0]))
        self._runtimes = runtimes(grid)
        self.stores = {
            (run.config.dataset, store): run.config for run in grid.runs.values() if (store := grid.store(run.config))
        }

    # --- datasets -----------------------------------------------------------------------------

    def dataset(self, name: str) -> DatasetConfig:
        return self.grid.dataset(name)

    def dataset_json(self, name: str) -> str:
        """A dataset's canonical JSON, what its rules read."""
        return canonical(self.dataset(name))

    def synthact_json(self, name: str) -> str:
        """How a dataset is generated, as canonical JSON: nothing else makes its videos anew."""
        dataset = self.dataset(name)
        if dataset.synthact is None:
            raise UserError(f"the dataset {name} is not generated: it has no `synthact`")
        return canonical(DatasetConfig(kind="synthact", synthact=dataset.synthact))

    def files(self, name: str) -> str:
        """Which files are downloaded, wherever they are fetched from, as JSON: what makes a download anew."""
        content = {"name", "sha256", "bytes", "into", "parts"}
        dumped = [
            [file.model_dump(mode="json", include=content) for file in (mirror, *mirror.otherwise)]
            for mirror in self._with_files(name).files
        ]
        return json.dumps(dumped, sort_keys=True)

    def files_json(self, name: str) -> str:
        """What of a dataset is downloaded and from where, as canonical JSON."""
        return canonical(DatasetConfig(kind="download", files=self._with_files(name).files))

    def _with_files(self, name: str) -> DatasetConfig:
        dataset = self.dataset(name)
        if not dataset.files:
            raise UserError(f"the dataset {name} has no `files` to download")
        return dataset

    def archives(self, name: str) -> str:
        """What becomes of downloaded archives once they are unpacked; no reason to do either again."""
        return "keep" if self.dataset(name).keep_archives else "delete"

    def fetched(self, name: str) -> list[str]:
        """What the jobs leave that download lists of addresses, each its share."""
        lists = [mirror for mirror in self.dataset(name).files if mirror.parts]
        parts = [
            self.paths.data(name, f"fetched/{mirror.name}/{part}-of-{mirror.jobs}.json")
            for mirror in lists
            for part in range(1, mirror.jobs + 1)
        ]
        return [self.paths.data(name, f"addresses/{mirror.name}.json") for mirror in lists] + parts

    def generated(self, name: str) -> list[str]:
        """What must exist before a dataset is indexed; nothing for a folder of the user's own."""
        if self.dataset(name).transcode is not None:
            return [self.paths.data(name, "transcoded.json")]
        return self.sources(name)

    def sources(self, name: str) -> list[str]:
        """What must exist before a dataset's own videos are read; nothing for a folder that is there already."""
        dataset = self.dataset(name)
        marker = {"synthact": "meta.csv", "download": "unpacked.json"}
        if dataset.root or dataset.kind not in marker:
            return []
        return [self.paths.data(name, marker[dataset.kind])]

    def index_options(self, name: str) -> str:
        """What of a dataset decides its index, as canonical JSON: other options do not make it anew."""
        beside: dict[str, Any] = dict.fromkeys(BESIDE_INDEX, True) | {"train": ADDRESS, "test": ADDRESS}
        values = self.dataset(name).model_dump(mode="json", exclude=beside, exclude_defaults=True)
        return json.dumps(values, sort_keys=True)

    def index_parts(self, name: str) -> list[str]:
        """What the jobs leave that share the decoding of a dataset's videos; nothing where the index does it all."""
        jobs = self.dataset(name).index_jobs
        return [self.paths.index_part(name, part, jobs) for part in range(1, jobs + 1)] if jobs > 1 else []

    def transcode_parts(self, name: str) -> list[str]:
        """What the jobs make that transcode a part of a dataset each, where it has several."""
        jobs = self.dataset(name).transcode_jobs
        parts = range(1, jobs + 1) if jobs > 1 else ()
        return [self.paths.data(name, f"transcode/{part}-of-{jobs}.json") for part in parts]

    def lists(self, name: str, group: str) -> list[str]:
        """What says that lists of a dataset are here, where any of them has an address: see `lists_json`."""
        fetched = any(item.url for item in self._lists(name, group).lists().values())
        return [self.paths.data(name, f"lists/{group}.json")] if fetched else []

    def lists_json(self, name: str, group: str = "") -> str:
        """Lists of a dataset, as canonical JSON of a dataset that has nothing else.

        `group` is a protocol, OFFICIAL for the training and the test list, or nothing for all of them.
        """
        return canonical(self._lists(name, group))

    def list_files(self, name: str, group: str) -> str:
        """Which files the lists of a group must be, wherever they are fetched from: what brings them anew."""
        files = {key: (item.path, item.sha256) for key, item in self._lists(name, group).lists().items()}
        return json.dumps(files, sort_keys=True)

    def _lists(self, name: str, group: str) -> DatasetConfig:
        dataset = self.dataset(name)
        kept: dict[str, Any] = {"extensions": dataset.extensions}
        if group in ("", OFFICIAL):
            kept |= {"train": dataset.train, "test": dataset.test}
        kept["protocols"] = {key: item for key, item in dataset.protocols.items() if group in ("", key)}
        return DatasetConfig(kind="folder", root="unused", **kept)

    def split_options(self, name: str, protocol: str) -> str:
        """What of a dataset decides a split beside its index, as canonical JSON."""
        dataset = self.dataset(name)
        published = dataset.protocols.get(protocol)
        beside = dict.fromkeys(ListSplit.model_fields, ADDRESS)
        lists = published.model_dump(mode="json", exclude=beside) if published else None
        values = [dataset.test_percent, dataset.extensions, self._is_admitted(name), lists]
        return json.dumps(values, sort_keys=True)

    def _is_admitted(self, name: str) -> bool:
        """Whether a dataset may be as incomplete as its index has found it. A larger `allow_missing` than that makes no
        split anew; before there is an index nothing speaks against it."""
        path = completeness_path(Path(self.paths.data(name, "index.csv")))
        return not path.exists() or Completeness.read(path).lost <= self.dataset(name).allow_missing

    def video_root(self, name: str) -> str:
        """The folder that an index's paths are relative to."""
        if self.dataset(name).transcode is not None:
            return self.paths.data(name, "transcoded")
        return self.source_root(name)

    def source_root(self, name: str) -> str:
        """The folder of a dataset's own videos."""
        dataset = self.dataset(name)
        if dataset.root:
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

    def store_options(self, name: str) -> str:
        """What of a dataset decides its stores of temporal gradients beside its index, as canonical JSON."""
        dataset = self.dataset(name)
        return json.dumps([dataset.tg_codec, dataset.decode_short_side])

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

    def runtime_of(self, run_id: str) -> Runtime:
        """Where and how a run trains."""
        return self._runtimes.get(run_id, self.project.runtime)

    def runtime(self, run_id: str) -> str:
        """The same as canonical JSON, a parameter of the training rules that makes nothing anew."""
        return canonical(self.runtime_of(run_id))

    def split(self, run_id: str) -> str:
        return self.paths.split(*self.run(run_id).split_key)

    def index(self, run_id: str) -> str:
        return self.paths.data(self.run(run_id).config.dataset, "index.csv")

    def store(self, run_id: str) -> list[str]:
        """The temporal-gradient store that training reads, or nothing."""
        store = self.grid.store(self.run(run_id).config)
        return [store] if store else []

    def test_store(self, run_id: str, views: str) -> list[str]:
        """The store that evaluation reads: only networks that see temporal gradients need one."""
        network = Views.from_slug(views).condition.network
        modality = network or self.run(run_id).config.options.test_modality
        return self.store(run_id) if modality == "tg" else []

    def completeness(self, run_id: str) -> list[str]:
        """How complete the datasets are that a run reads: its own, and that of its unlabelled videos."""
        config = self.run(run_id).config
        names = [config.dataset, *([config.unlabelled.dataset] if config.unlabelled else [])]
        return [self.paths.data(name, "completeness.json") for name in dict.fromkeys(names)]

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

    @cached_property
    def requested(self) -> list[str]:
        """The targets of the configuration relative to `results`: those that it names, or else everything."""
        return list(self.project.targets) or self.everything()

    def default(self) -> list[str]:
        """What `snakemake` without a target makes."""
        return [f"{self.project.results}/{target}" for target in self.requested]

    def everything(self) -> list[str]:
        """All tables, figures and claims that have something to measure at this scale, and the report on them."""
        found: list[str] = []
        for paper in self.grid.papers.values():
            found += [f"tables/{_short(stem)}.tex" for stem in self.table_stems(paper.name)]
            found += [f"figures/{paper.name}/{name}.pdf" for name in paper.figures if self._drawable(paper, name)]
            if paper.claims:
                found.append(f"claims/{paper.name}.md")
        return [*found, REPORT]

    def _measurable(self, paper: str, name: str) -> bool:
        """Whether a run at this scale fills any cell; a table of quoted values alone is always there."""
        sources = list(self.grid.papers[paper].tables[name].sources())
        return not sources or any(self.grid.results(paper, source) for source in sources)

    def _drawable(self, paper: Paper, name: str) -> bool:
        """Whether everything that a figure reads exists at this scale."""
        figure = paper.figures[name]
        wanted = [(source.variant, source.setting) for source in figure.sources()]
        return all(self.grid.select(paper.name, *pair) for pair in (*wanted, (figure.variants[0], figure.setting)))

    def title(self, paper: str) -> str:
        """Title, venue and year of a paper."""
        return self.planned(paper).declared.title

    def table_stems(self, paper: str) -> list[str]:
        """The tables of a paper at this scale, in their declared order."""
        return [f"{paper}/{name}" for name in self.planned(paper).tables if self._measurable(paper, name)]

    @cached_property
    def missing(self) -> str:
        """Changes with the runs that the requested targets lack and with what the cost assumes: makes the cost anew."""
        from ssar.cost.plan import missing

        return f"{missing(self)} {self.project.cost.model_dump_json()}"

    @property
    def shown(self) -> list[str]:
        """What the report shows: the requested tables, figures and claims, relative to `results`."""
        return [target for target in self.requested if target != REPORT]

    def report_inputs(self) -> list[str]:
        return [f"{self.project.results}/{target}" for target in self.shown]

    def ablation(self, paper: str, variant: str) -> list[str]:
        """The metrics of one variant in its paper's ablation setting, one per seed."""
        self._known(paper, variant)
        if options_class(self.grid.papers[paper].experiments[variant].method).stage == "pretrain_teacher":
            raise UserError(f"variant {variant} of {paper} is self-supervised: it has no classifier to evaluate")
        setting = self.grid.papers[paper].declared.ablation_setting
        found = self.grid.results(paper, Source(variant, setting, "metrics"))
        if not found:
            raise UserError(f"setting {setting} is not at this scale: add it to `settings` of the configuration")
        return found

    def _known(self, paper: str, variant: str) -> None:
        if variant not in self.planned(paper).experiments:
            known = ", ".join(sorted(self.grid.papers[paper].experiments))
            raise UserError(f"unknown variant `{variant}` of {paper}; known: {known}")

    def _stem(self, stem: str) -> tuple[str, str]:
        """`ltg/table2`, or `table2` of the default paper; `benchmark` is the table of all methods."""
        paper, _, name = stem.rpartition("/")
        if not paper and name == BENCHMARK and BENCHMARK in self.grid.papers:
            return BENCHMARK, BENCHMARK
        return paper or self.project.paper, name

    def paper_of(self, stem: str) -> str:
        """The paper of a table or figure."""
        return self._stem(stem)[0]

    def name_of(self, stem: str) -> str:
        """Its name within the paper."""
        return self._stem(stem)[1]

    def table(self, stem: str) -> TableSpec:
        """A declared table. Raises UserError for an unknown one."""
        return cast(TableSpec, self._declared("table", stem))

    def tables(self, stem: str) -> list[TableSpec]:
        """A declared table, or all of a paper at this scale for their document. Raises UserError for an unknown one."""
        paper, name = self._stem(stem)
        if stem == f"{paper}/{ALL}" and name not in self.planned(paper).tables:
            return [self.table(each) for each in self.table_stems(paper)]
        return [self.table(stem)]

    def figure(self, stem: str) -> FigureSpec:
        """A declared figure. Raises UserError for an unknown one."""
        return cast(FigureSpec, self._declared("figure", stem))

    def _declared(self, what: Literal["table", "figure"], stem: str) -> TableSpec | FigureSpec:
        paper, name = self._stem(stem)
        found = self.planned(paper)
        known: Mapping[str, TableSpec | FigureSpec] = found.tables if what == "table" else found.figures
        if name not in known:
            declared = ", ".join(sorted(known)) or "none"
            raise UserError(f"no {what} `{stem}` is declared; declared by {paper}: {declared}")
        return known[name]

    def table_data(self, stem: str) -> dict[str, Any]:
        """A table with the result files of each of its cells: what the renderer takes."""
        paper, name = self._stem(stem)
        declared = self.table(stem)
        cells = {f"{row}|{column}": self.grid.results(paper, source) for row, column, source in declared.cells()}
        settings = {column.key: self.grid.setting(column.setting) for column in declared.columns if column.setting}
        return {
            "spec": declared.model_dump(mode="json"),
            "cells": cells,
            "settings": {key: str(s) if s else None for key, s in settings.items()},
            "note": self.project.note,
            "views": self.grid.views(paper),
            "flags": sentences(paper, declared),
            "remarks": disagreements(self._all_papers, paper, name),
        }

    @cached_property
    def _all_papers(self) -> dict[str, Paper]:
        """Every paper there is, planned or not: what one prints may contradict another."""
        names = sorted(path.name for path in (CONFIG / "papers").iterdir() if path.is_dir())
        return {name: self.grid.papers.get(name) or load_paper(name) for name in names}

    def table_json(self, stem: str) -> str:
        """The one parameter of the table rule."""
        return json.dumps(self.table_data(stem), sort_keys=True)

    def table_inputs(self, stem: str) -> list[str]:
        paper, _ = self._stem(stem)
        return self._inputs(paper, self.table(stem).sources())

    def figure_data(self, stem: str) -> dict[str, Any]:
        """A figure with the files of everything that it reads: what the renderer takes."""
        paper, _ = self._stem(stem)
        declared = self.figure(stem)
        return {
            "spec": declared.model_dump(mode="json"),
            "files": {source.key: self._present(paper, source) for source in declared.sources()},
            "split": self.split(self._first(stem).id),
            "note": self.project.note,
        }

    def figure_json(self, stem: str) -> str:
        """The one parameter of the figure rule."""
        return json.dumps(self.figure_data(stem), sort_keys=True)

    def _first(self, stem: str) -> Run:
        """The run whose dataset and split a figure shows."""
        paper, _ = self._stem(stem)
        declared = self.figure(stem)
        found = self.grid.select(paper, declared.variants[0], declared.setting)
        if not found:
            raise UserError(
                f"setting {declared.setting} is not at this scale: add it to `settings` of the configuration"
            )
        return found[0]

    def _present(self, paper: str, source: Source) -> list[str]:
        found = self.grid.results(paper, source)
        if not found:
            raise UserError(f"setting {source.setting} is not at this scale: add it to `settings` of the configuration")
        return found

    def figure_inputs(self, stem: str) -> list[str]:
        """The files that a figure reads: its runs', and the split that its videos are drawn from."""
        paper, _ = self._stem(stem)
        return [self.split(self._first(stem).id), *self._inputs(paper, self.figure(stem).sources())]

    def figures_by(self, *, heavy: bool) -> str:
        """A regular expression of the stems of all figures of the heavy kinds, or of whatever else there may be."""
        stems = [
            re.escape(stem)
            for paper in self.grid.papers.values()
            for name, figure in paper.figures.items()
            if figure.kind in HEAVY
            for stem in (f"{paper.name}/{name}", *((name,) if paper.name == self.project.paper else ()))
        ]
        if heavy:
            return f"(?:{'|'.join(stems)})" if stems else "(?!)"
        return rf"(?!(?:{'|'.join(stems)})\.(?:pdf|png)$).+" if stems else ".+"

    def figure_root(self, stem: str) -> str:
        """The video folder of the dataset that a figure shows."""
        return self.run_root(self._first(stem).id)

    def claims_inputs(self, paper: str) -> list[str]:
        """The files that a paper's claims read; a claim whose setting is not at this scale reads none.

        Where the configuration names its targets, claims train nothing on top of what those need: the others are not
        run.
        """
        sources = (source for claim in self.planned(paper).claims.values() for source in claim.sources())
        return self._inputs(paper, (source for source in sources if self.trained(paper, source)))

    def trained(self, paper: str, source: Source) -> bool:
        """Whether claims may count on the runs of a source: those of the requested targets, if these are named."""
        runs = self.grid.select(paper, source.variant, source.setting)
        return not self.project.targets or all(run.id in self._requested_runs for run in runs)

    @cached_property
    def _requested_runs(self) -> set[str]:
        """The runs that the requested tables, figures and ablations read."""
        pairs: set[tuple[str, str, str]] = set()
        for target in self.requested:
            kind, _, rest = target.partition("/")
            stem = rest.rpartition(".")[0]
            paper, name = self._stem(stem)
            if kind in ("tables", "figures"):
                items = self.tables(stem) if kind == "tables" else [self.figure(stem)]
                pairs |= {(paper, source.variant, source.setting) for item in items for source in item.sources()}
            elif kind == "ablations":
                pairs.add((paper, name, self.planned(paper).declared.ablation_setting))
        return {run.id for pair in pairs for run in self.grid.select(*pair)}

    def claims_digest(self, paper: str) -> str:
        """Changes when a claim, a published value, a run or the scale does: what makes the verdicts anew."""
        found = self.planned(paper)
        declared = [claim.model_dump_json() for claim in found.claims.values()]
        declared += [table.model_dump_json() for table in found.tables.values()]
        return digest("\n".join((*declared, *self.claims_inputs(paper), str(self.project.note))))

    def planned(self, paper: str) -> Paper:
        """A paper of the configuration. Raises UserError for another one."""
        if paper not in self.grid.papers:
            raise UserError(f"unknown paper `{paper}`; known: {', '.join(self.grid.papers)}")
        return self.grid.papers[paper]

    def _inputs(self, paper: str, sources: Iterable[Source]) -> list[str]:
        """The files as rules declare them, once: a record of pseudo-labels lies beside its run's weights."""
        found = (
            self.grid.results(paper, source._replace(role="model") if source.role == "record" else source)
            for source in sources
        )
        return sorted(set(chain.from_iterable(found)))
