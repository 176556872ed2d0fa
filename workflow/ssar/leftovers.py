"""What lies below a results folder that no configuration asks for any more, that a killed write left, or that outlived
its run.

Only what the pipeline itself writes is ever found: names must be those of runs, splits and stores, folders must hold
nothing else, links are left alone. Videos, indexes, tables and figures are never among it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssar.asked import Asked
from ssar.methods import METHODS
from ssar.paths import Paths
from ssar.status import Signs, finished
from ssar.views import SLUG

DAY = 86400.0
HOUR = 3600.0
CAREFUL = 600.0
"""Seconds without a sign of life after which a run may be removed: clocks differ, and a file server may hang."""

RUN = rf"[^./+]+\.[^/+]+?\.(?:{'|'.join(METHODS)})\.s\d+\.[0-9a-f]{{6}}"
RUN_ID = re.compile(RUN)
SCORES = re.compile(rf"({RUN})\+({RUN})")
OF_RUNS = re.compile(rf"({RUN})(?:\+({RUN})|\.(?P<views>.+))?")
"""The name of a log or benchmark: of a run, of two, or of a run under some views."""
SPLIT = re.compile(r".+\.d\d+(?:-rest)?\.csv")
STORE = re.compile(r"tg-n\d+-(?:forward|backward)")
TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}(?:\.[^.]+)?")
"""What `ssar.files.atomic` writes to before it moves the file to its place."""

RUN_FILES = {"model.pt", "curves.csv", "run.json", "pseudo_labels.npz", "architecture.json", ".snakemake_timestamp"}
VIEW_FILES = {"predictions.npz", "metrics.json", ".snakemake_timestamp"}
STORE_FILES = {"store.json", "videos", ".snakemake_timestamp"}

RULES = ("train_student", "pretrain_teacher", "finetune_teacher", "similarity", "predict", "metrics", "architecture")
"""Rules whose logs and benchmarks are named after runs."""

WRITTEN = ("runs", "state", "splits", "scores", "ablations", "tables", "figures", "claims", "benchmarks", "logs")
"""Folders that hold nothing but what the pipeline writes."""

Kind = Literal["run", "state", "evaluation", "scores", "store", "split", "ablation", "log", "checkpoint", "temporary"]
TITLES: dict[Kind, str] = {
    "run": "runs",
    "state": "states of unfinished runs",
    "evaluation": "evaluations",
    "scores": "temporal similarities",
    "store": "stores of temporal gradients",
    "split": "splits",
    "ablation": "ablations",
    "log": "logs and benchmarks",
    "checkpoint": "checkpoints of finished runs",
    "temporary": "temporaries of writes that were cut off",
}


@dataclass(frozen=True)
class Item:
    """A file or folder that may go."""

    kind: Kind
    path: Path
    size: int
    """Bytes."""
    state: Path | None = None
    """The state folder of its run: while that shows life, the item stays."""


@dataclass
class Found:
    """What may go, and what was kept although nothing asks for it, with the reason."""

    items: list[Item] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    finished: int = 0
    """Finished runs that stay."""

    @property
    def lost(self) -> int:
        """Finished runs that would go."""
        return sum(item.kind == "run" and (item.path / "model.pt").is_file() for item in self.items)


def find(paths: Paths, asked: Asked, now: float) -> Found:
    """Everything below the results folder that may go; `now` in seconds since the epoch.

    Raises OSError where a folder, or a run's signs of life, cannot be read.
    """
    return _Finder(paths, asked, now).all()


class _Finder:
    def __init__(self, paths: Paths, asked: Asked, now: float) -> None:
        self.paths, self.asked, self.now = paths, asked, now
        self.root = Path(paths.results)
        self.found = Found()
        self.alive: dict[str, bool] = {}

    def all(self) -> Found:
        self.runs()
        self.states()
        names = [*self.names("runs"), *self.names("state")]
        busy = [run_id for run_id in dict.fromkeys(names) if self.stale(run_id) and self.at_work(run_id)]
        for run_id in busy:
            self.found.kept.append(f"{run_id}: at work, and what it may read: splits, similarities, gradients")
        if not busy:
            self.shared()
        self.others()
        self.temporaries()
        order = list(TITLES)
        self.found.items.sort(key=lambda item: (order.index(item.kind), str(item.path)))
        return self.found

    def add(self, kind: Kind, path: Path, run_id: str | None = None) -> None:
        state = Path(self.paths.state(run_id)) if run_id else None
        self.found.items.append(Item(kind, path, size(path), state))

    def inside(self, path: Path) -> Path:
        """Relative to the results folder, as configurations name it."""
        return path.relative_to(self.root)

    def names(self, folder: str) -> list[str]:
        """Runs that have a folder there."""
        return [path.name for path in _entries(self.root / folder) if path.is_dir() and RUN_ID.fullmatch(path.name)]

    def stale(self, run_id: str) -> bool:
        return run_id not in self.asked.runs

    def at_work(self, run_id: str) -> bool:
        if run_id not in self.alive:
            self.alive[run_id] = Signs.find(self.paths.state(run_id)).alive(self.now, CAREFUL)
        return self.alive[run_id]

    def runs(self) -> None:
        """Run folders, and folders of views within those that stay."""
        for run_id in self.names("runs"):
            folder = self.root / "runs" / run_id
            views = [path for path in _entries(folder) if path.is_dir() and _is_views(path)]
            if self.stale(run_id):
                if self.at_work(run_id):
                    continue
                foreign = [*_foreign(folder, RUN_FILES | {path.name for path in views})]
                foreign += [file for path in views for file in _foreign(path, VIEW_FILES)]
                self.own("run", folder, foreign, run_id)
                continue
            self.found.finished += finished(self.paths, run_id)
            for path in views:
                if self.inside(path) not in self.asked.evaluations:
                    self.own("evaluation", path, _foreign(path, VIEW_FILES))

    def own(self, kind: Kind, path: Path, foreign: Iterable[Path], run_id: str | None = None) -> None:
        """Add a folder unless it holds something that the pipeline did not write."""
        others = list(foreign)
        if others:
            self.found.kept.append(f"{path}: holds {others[0].name}, which is not the pipeline's")
        else:
            self.add(kind, path, run_id)

    def states(self) -> None:
        for run_id in self.names("state"):
            folder = Path(self.paths.state(run_id))
            if self.at_work(run_id):
                continue
            if self.stale(run_id):
                self.add("state", folder, run_id)
            elif finished(self.paths, run_id):
                for path in sorted(folder.glob("*.ckpt")):
                    if not TEMPORARY.fullmatch(path.name):
                        self.add("checkpoint", path, run_id)

    def shared(self) -> None:
        """What several runs read."""
        for path in _entries(self.root / "scores"):
            if path.is_dir() and SCORES.fullmatch(path.name) and self.inside(path) not in self.asked.scores:
                self.own("scores", path, _foreign(path, {"similarity.npz", ".snakemake_timestamp"}))
        for dataset in _entries(self.root / "splits"):
            for path in _entries(dataset):
                if path.is_file() and SPLIT.fullmatch(path.name) and self.inside(path) not in self.asked.splits:
                    self.add("split", path)
        for dataset in _entries(self.root / "data"):
            for path in _entries(dataset):
                if not (path.is_dir() and STORE.fullmatch(path.name)) or self.inside(path) in self.asked.stores:
                    continue
                if self.now - newest(path) < HOUR:
                    self.found.kept.append(f"{path}: changed within the hour")
                else:
                    self.own("store", path, _foreign(path, STORE_FILES))

    def others(self) -> None:
        """Ablations, logs and benchmarks."""
        for paper in _entries(self.root / "ablations"):
            for path in _entries(paper):
                ours = path.is_file() and path.suffix == ".json" and not TEMPORARY.fullmatch(path.name)
                if ours and self.inside(path) not in self.asked.ablations:
                    self.add("ablation", path)
        for folder, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
            for rule in RULES:
                for path in _entries(self.root / folder / rule):
                    if path.suffix == suffix and path.is_file() and self.of_stale(path.stem):
                        self.add("log", path)

    def of_stale(self, name: str) -> bool:
        """Whether a log is of runs, or of an evaluation, that nothing asks for."""
        match = OF_RUNS.fullmatch(name)
        if match is None:
            return False
        first, second = match[1], match[2]
        if any(self.stale(run_id) and self.at_work(run_id) for run_id in filter(None, (first, second))):
            return False
        if match["views"] and not self.stale(first):
            evaluation = Path(self.paths.evaluation(first, match["views"], "metrics.json")).parent
            return self.inside(evaluation) not in self.asked.evaluations
        return any(self.stale(run_id) for run_id in filter(None, (first, second)))

    def temporaries(self) -> None:
        """Old ones, in the folders that hold nothing but the pipeline's own files, and outside of what goes anyway."""
        gone = {item.path for item in self.found.items}
        stores = (path for dataset in _entries(self.root / "data") for path in _entries(dataset))
        whole = [*(self.root / name for name in WRITTEN), *(path for path in stores if STORE.fullmatch(path.name))]
        files = [path for top in whole for path in _files(top, lambda folder: folder in gone)]
        datasets = _entries(self.root / "data")
        flat = [self.root, self.root / "data", *datasets, *(path / "index" for path in datasets)]
        files += [path for folder in flat for path in _entries(folder) if path.is_file()]
        for path in files:
            if TEMPORARY.fullmatch(path.name) and path not in gone and self.now - _modified(path) > DAY:
                self.add("temporary", path)


def _is_views(path: Path) -> bool:
    return SLUG.fullmatch(path.name.partition("+")[0]) is not None


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, without links; nothing where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if not entry.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(top: Path, skipped: Callable[[Path], bool]) -> Iterator[Path]:
    """All files below a folder, without following links."""
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not skipped(Path(folder, name))]
        yield from (Path(folder, name) for name in names)


def _foreign(folder: Path, known: set[str]) -> Iterator[Path]:
    """What the pipeline does not write there; a link is never its own."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() or not (entry.name in known or TEMPORARY.fullmatch(entry.name)):
                yield Path(entry.path)


def _modified(path: Path) -> float:
    """Seconds since the epoch; of a file that is gone, now."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def newest(folder: Path) -> float:
    """When anything below a folder was last changed, in seconds since the epoch."""
    return max(map(_modified, [folder, *_files(folder, lambda _: False)]))


def size(path: Path) -> int:
    """Bytes of a file, or of everything below a folder."""
    files = _files(path, lambda _: False) if path.is_dir() else [path]
    return sum(_bytes(file) for file in files)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
