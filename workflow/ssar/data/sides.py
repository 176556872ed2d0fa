"""What a comparison of splits compares: a published list, a split of ours, or a label protocol of a dataset."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssar.checks import protocol_problems
from ssar.config import DatasetConfig, ListFile
from ssar.data.list_files import list_path
from ssar.data.lists import Entry, Role, entry, read_list
from ssar.data.matching import same_class
from ssar.data.split import SPLIT_COLUMNS
from ssar.errors import UserError
from ssar.layers import validate
from ssar.paths import Paths
from ssar.project import Project, dataset_layers, dataset_names

DRAW = re.compile(r"(?P<protocol>.+?)(?:\.d(?P<draw>\d+(?:-rest)?))?")
SPLIT_FILE = re.compile(r".*/splits/[^/]+/.+\.d\d+(?:-rest)?\.csv")
EXTENSIONS: Sequence[str] = DatasetConfig.model_fields["extensions"].default


@dataclass
class Side:
    """One side of a comparison. Lists that are not known are None."""

    title: str
    labelled: list[Entry]
    unlabelled: list[Entry] | None = None
    test: list[Entry] | None = None
    pool: list[Entry] | None = None
    """The training videos that the labelled ones are drawn from."""
    pool_size: int | None = None
    """How many these are, where it is only known that."""
    pattern: str | None = None
    """Names the recording group of a path; see DatasetConfig."""
    groups: dict[str, str] = field(default_factory=dict)
    """Recording groups by `str(entry)`, where a file states them."""
    notes: list[str] = field(default_factory=list)
    marker: str = ""
    """The target that brings the lists of a dataset."""


def read_side(text: str, project: Project, files: Sequence[Path]) -> Side:
    """The side that a word of the command line names.

    A file or folder is a split of ours (known by its columns) or else a published list in any format; other words are
    `dataset.protocol[.dN]` of the configuration, read from lists alone where the protocol is published. Raises
    UserError for what is neither, and for a drawn split that is not made yet.
    """
    path = Path(text).expanduser()
    if path.exists():
        return _split(path) if path.is_file() and _is_split(path) else _list(path)
    if SPLIT_FILE.fullmatch(text):
        raise UserError(f"{text} is not made yet; make it by: snakemake -c1 {text}")
    name, _, rest = text.partition(".")
    if name not in dataset_names(project) or not rest:
        known = ", ".join(dataset_names(project))
        raise UserError(f"{text} is neither a file nor `dataset.protocol`; the datasets are {known}")
    dataset = validate(DatasetConfig, dataset_layers(name, project, files), f"dataset `{name}` has mistakes:")
    found = DRAW.fullmatch(rest)
    protocol, draw = (found["protocol"], found["draw"] or "0") if found else (rest, "0")
    for problem in protocol_problems(name, dataset, protocol):
        raise UserError(problem)
    if protocol in dataset.protocols or (protocol == "all" and dataset.train is not None):
        return _protocol(text, dataset, protocol, Paths(project.results).data(name, "lists.json"))
    split = Path(Paths(project.results).split(name, protocol, draw))
    if not split.exists():
        raise UserError(
            f"{text} is drawn from an index, and {split} is not made yet; make it by: snakemake -c1 {split}"
        )
    return _split(split)


def _is_split(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return tuple(file.readline().strip().split(",")) == SPLIT_COLUMNS


def _split(path: Path) -> Side:
    parts: dict[str, list[Entry]] = {"labelled": [], "unlabelled": [], "test": []}
    side = Side(str(path), parts["labelled"], parts["unlabelled"], parts["test"], [])
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            video = entry(row["path"], row["label"], f"{path}, line {number}", EXTENSIONS)._replace(name=row["class"])
            if row["group"]:
                side.groups[str(video)] = row["group"]
            for flag, videos in parts.items():
                if row[flag] == "1":
                    videos.append(video)
            if row["test"] != "1" and side.pool is not None:
                side.pool.append(video)
    if not side.labelled:
        raise UserError(f"{path} labels no video: there is nothing to compare")
    return side


def _list(path: Path) -> Side:
    """A list file; the folder of HMDB-51's first split has its test videos, too."""
    item = ListFile(path=str(path.resolve()))
    side = Side(str(path), read_list(item, "train", EXTENSIONS))
    if path.is_dir():
        side.title += ", split 1"
        side.test = read_list(item, "test", EXTENSIONS)
    return side


def _protocol(title: str, dataset: DatasetConfig, protocol: str, marker: str) -> Side:
    """A published protocol by its lists alone; lists beside the labelled one only where they are here."""
    published = dataset.protocols.get(protocol)
    labelled = published.labelled if published else dataset.train
    if labelled is None:
        raise UserError(f"{title}: the dataset has no list of its training videos")
    entries = read_list(labelled, "train", dataset.extensions)
    side = Side(title, entries, pattern=dataset.group_pattern, marker=marker)
    if labelled.numbers == "labels":
        side.notes.append(f"{title}: labels are the class numbers of the list, whatever its folders say")
    own_test = published.test if published else None
    side.test = _here(side, own_test or dataset.test, "test", dataset)
    side.pool = _here(side, dataset.train, "train", dataset)
    if side.pool is None:
        side.pool_size = dataset.videos
    elif own_test is not None and side.test is not None:
        others = _here(side, dataset.test, "test", dataset) or []
        tested = {_name(video) for video in side.test}
        side.pool = [video for video in (*side.pool, *others) if _name(video) not in tested]
    side.unlabelled = side.pool
    if published is not None and published.unlabelled is not None:
        side.unlabelled = _here(side, published.unlabelled, "train", dataset)
    return side


def _name(video: Entry) -> tuple[str, str]:
    return same_class(video.name or ""), video.stem


def _here(side: Side, item: ListFile | None, role: Role, dataset: DatasetConfig) -> list[Entry] | None:
    if item is None:
        return None
    if not list_path(item).exists():
        side.notes.append(f"{list_path(item)} is not here; snakemake -c1 {side.marker} brings it")
        return None
    return read_list(item, role, dataset.extensions)
