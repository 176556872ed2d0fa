"""Which jobs the requested targets still lack: from names of tables and figures to trainings and predictions.

A job is missing where its file does not exist and something that is missing needs it: what Snakemake would run.
Tables, figures and metrics themselves take seconds and are not counted. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from ssar.config import digest
from ssar.errors import UserError
from ssar.experiments import Paper
from ssar.reporting.sources import Source
from ssar.targets import ALL, REPORT, Targets

Kind = Literal["transcode", "index", "store", "train", "similarity", "predict"]
BENCHMARK = "benchmark"
FAMILIES = ("tables", "figures", "claims", "ablations")


@dataclass(frozen=True)
class Job:
    """One job that would run. `key` is the file that it makes, by which other jobs need it."""

    kind: Kind
    key: str
    subject: str
    """The run's id; of a transcoding, an index or a store the dataset's name; of similarities both runs' ids, joined by
    `+`."""
    needs: tuple[str, ...] = ()
    """Keys of the missing jobs that come before it."""
    views: str = ""
    """Slug of a prediction's views."""


@dataclass(frozen=True)
class Request:
    """One target with the keys of the jobs that it lacks, each after those that it needs."""

    name: str
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The requested targets and everything that they lack, each job once."""

    requests: tuple[Request, ...]
    jobs: dict[str, Job] = field(default_factory=dict)

    def trainings(self, keys: Iterable[str] | None = None) -> list[Job]:
        """The trainings among some jobs; of all, if none are named."""
        return [job for key in (self.jobs if keys is None else keys) if (job := self.jobs[key]).kind == "train"]


def requested(targets: Targets, names: Sequence[str]) -> Plan:
    """What the named targets lack; with no name, the configuration's own `targets`.

    A name is a file below the results folder, with or without that folder: tables/ltg/table1.tex, tables/ltg/all.pdf,
    figures/ltg/figure3, claims/ltg.md, ablations/ltg/no-contrast.json. Whatever suffix is taken. The report stands for
    all that it shows. Raises UserError for a name that is not declared, and for a setting that is not at this scale.
    """
    collector = _Collector(targets)
    requests = []
    for name in expanded(targets, names):
        paper, sources = declared(targets, name)
        keys: dict[str, None] = {}
        for source in sources:
            for key in collector.source(paper.name, source):
                keys |= dict.fromkeys(collector.with_needs(key))
        requests.append(Request(name, tuple(keys)))
    return Plan(tuple(requests), collector.jobs)


def missing(targets: Targets, names: Sequence[str] = ()) -> str:
    """A digest of the missing jobs, which changes when one of them is done: the cost rule's parameter."""
    return digest("\n".join(sorted(requested(targets, names).jobs)), 12)


# --- names ----------------------------------------------------------------------------------------


def expanded(targets: Targets, names: Sequence[str]) -> list[str]:
    """The named targets, each once, with those that the report shows in its place; all of them, if none is named."""
    shown = {REPORT, f"{targets.project.results}/{REPORT}"}
    found = (targets.shown if name in shown else [name] for name in names or [REPORT])
    return list(dict.fromkeys(chain.from_iterable(found)))


def check(targets: Targets) -> None:
    """Raises UserError that lists what the configuration's own `targets` name and no paper declares.

    Names of other families are files, which Snakemake knows.
    """
    problems = []
    for name in targets.project.targets:
        if name.startswith(f"{targets.project.results}/"):
            problems.append(f"target `{name}`: targets are named without the results folder")
            continue
        try:
            if name.startswith("claims/"):  # which would look at all the others
                targets.planned(Path(name).stem)
            elif name.partition("/")[0] in FAMILIES:
                declared(targets, name)
        except UserError as error:
            problems.append(f"target `{name}`: {str(error).removeprefix(f'target `{name}`: ')}")
    if problems:
        raise UserError.of("the configuration has mistakes in `targets`:", problems)


def declared(targets: Targets, name: str) -> tuple[Paper, list[Source]]:
    """The paper of a target and what the target reads. Names and errors are those of `requested`."""
    family, _, rest = name.removeprefix(f"{targets.project.results}/").partition("/")
    stem = str(Path(rest).with_suffix("")) if rest else ""
    first, _, last = stem.rpartition("/")
    papers = targets.grid.papers
    alone = BENCHMARK if not first and last == BENCHMARK and BENCHMARK in papers else targets.project.paper
    match family:
        case "tables" | "figures":
            paper = _paper(papers, first or alone, name)
            if family == "tables" and first and last == ALL:
                return paper, [source for table in targets.tables(stem) for source in table.sources()]
            known = paper.tables if family == "tables" else paper.figures
            return paper, list(_one(known, last, name).sources())
        case "claims":
            paper = _paper(papers, first or last, name)
            chosen = [_one(paper.claims, last, name)] if first else list(paper.claims.values())
            wanted = (source for claim in chosen for source in claim.sources())
            return paper, [source for source in wanted if targets.trained(paper.name, source)]
        case "ablations":
            paper = _paper(papers, first, name)
            _one(paper.experiments, last, name)
            return paper, [Source(last, paper.declared.ablation_setting, "metrics")]
    raise UserError(f"target `{name}`: expected one of {', '.join(f'{family}/...' for family in FAMILIES)}")


def _paper(papers: dict[str, Paper], paper: str, name: str) -> Paper:
    if paper not in papers:
        raise UserError(f"target `{name}`: no paper `{paper}` is planned; planned: {', '.join(papers)}")
    return papers[paper]


def _one(known, key: str, name: str):  # type: ignore[no-untyped-def]
    """The declaration of that name."""
    if key not in known:
        raise UserError(f"target `{name}`: `{key}` is not declared; declared: {', '.join(sorted(known)) or 'none'}")
    return known[key]


# --- jobs -----------------------------------------------------------------------------------------


class _Collector:
    """Finds missing jobs, each once, with what they need."""

    def __init__(self, targets: Targets) -> None:
        self.targets, self.grid, self.paths = targets, targets.grid, targets.paths
        self.jobs: dict[str, Job] = {}

    def source(self, paper: str, source: Source) -> Iterator[str]:
        """Keys of the last jobs that a source lacks; none for a setting that is not at this scale."""
        runs = self.grid.select(paper, source.variant, source.setting)
        for run in runs:
            match source.role:
                case "metrics" | "predictions":
                    slug = self.grid.views(paper, source.condition)
                    known = "metrics.json" if source.role == "metrics" else "predictions.npz"
                    if not Path(self.paths.evaluation(run.id, slug, known)).exists():
                        yield from self._predict(run.id, slug)
                case "model":
                    yield from self._train(run.id, "model.pt")
                case "record":
                    yield from self._train(run.id, "pseudo_labels.npz")
                case "curves":
                    yield from self._train(run.id, "curves.csv")
                case "scores":
                    yield from self._similarity(self.grid.upstream(run.config)["scores"])
                case "architecture":
                    pass  # computed without data, in seconds

    def with_needs(self, key: str) -> Iterator[str]:
        """A missing job after all that it needs."""
        for before in self.jobs[key].needs:
            yield from self.with_needs(before)
        yield key

    def _add(self, kind: Kind, key: str, subject: str, needs: Iterable[str], views: str = "") -> Iterator[str]:
        self.jobs[key] = Job(kind, key, subject, tuple(dict.fromkeys(needs)), views)
        yield key

    def _predict(self, run_id: str, slug: str) -> Iterator[str]:
        key = self.paths.evaluation(run_id, slug, "predictions.npz")
        if not Path(key).exists():
            data = [*self._index(self.targets.run(run_id).config.dataset), *self._store(run_id)]
            yield from self._add("predict", key, run_id, [*data, *self._train(run_id, "model.pt")], slug)

    def _train(self, run_id: str, name: str) -> Iterator[str]:
        """The training of a run that lacks one of its files."""
        key = self.paths.run(run_id, "model.pt")
        if Path(self.paths.run(run_id, name)).exists():
            return
        config = self.targets.run(run_id).config
        needs = [*self._index(config.dataset), *self._store(run_id)]
        if config.unlabelled is not None:
            needs += self._index(config.unlabelled.dataset)
        for path in self.grid.upstream(config).values():
            needs += (
                self._similarity(path) if path.endswith(".npz") else self._train(Path(path).parent.name, "model.pt")
            )
        yield from self._add("train", key, run_id, needs)

    def _similarity(self, path: str) -> Iterator[str]:
        if Path(path).exists():
            return
        subject = Path(path).parent.name
        runs = subject.split("+")
        needs = [key for run_id in runs for key in self._train(run_id, "model.pt")]
        yield from self._add(
            "similarity", path, subject, [*self._index(self.targets.run(runs[0]).config.dataset), *needs]
        )

    def _index(self, dataset: str) -> Iterator[str]:
        key = self.paths.data(dataset, "index.csv")
        if not Path(key).exists():
            yield from self._add("index", key, dataset, self._transcode(dataset))

    def _transcode(self, dataset: str) -> Iterator[str]:
        key = self.paths.data(dataset, "transcoded.json")
        if self.targets.dataset(dataset).transcode is not None and not Path(key).exists():
            yield from self._add("transcode", key, dataset, ())

    def _store(self, run_id: str) -> Iterator[str]:
        config = self.targets.run(run_id).config
        key = self.grid.store(config)
        if key is not None and not Path(key).exists():
            yield from self._add("store", key, config.dataset, self._index(config.dataset))
