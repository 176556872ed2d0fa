"""Label protocols: drawing or reading which videos of an index are labelled, unlabelled and for testing."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssar.checks import PER_CLASS, PERCENT
from ssar.config import DatasetConfig, LabelsConfig, ListFile
from ssar.data.draws import draw, hold_out, percent_counts
from ssar.data.index import COLUMNS, excluded_path
from ssar.data.lists import Entry, read_list
from ssar.data.matching import Matcher, refuse_contradictions, refuse_missing
from ssar.data.split import SPLIT_COLUMNS
from ssar.errors import UserError
from ssar.files import atomic
from ssar.progress import note

Row = Mapping[str, str]


def make_split(index_csv: Path, dataset: DatasetConfig, labels: LabelsConfig, out_csv: Path) -> None:
    """Write a row with the columns SPLIT_COLUMNS for each video of an index, sorted by path.

    - test: the index's test videos; where it has none, `dataset.test_percent` of each class, groups whole.
    - labelled: of the other videos all, N per class, P percent (see `ssar.data.draws`), or those of a published list.
    - unlabelled: the training videos, or those of a published list; with or without the labelled ones.

    Raises UserError: more labels than videos, a list that does not fit the index, a test video among the labelled or
    unlabelled ones, an unknown protocol.
    """
    rows = _read_index(index_csv)
    test = _test(rows, dataset.test_percent)
    training = [row for row in rows if row["path"] not in test and row["split"] in ("train", "")]
    if not training:
        raise UserError(f"{index_csv}: no training video")
    labelled, unlabelled = _training(index_csv, rows, training, dataset, labels)
    _refuse_leak(labelled | unlabelled, test, labels.protocol)
    # a published list may leave labelled videos out of the unlabelled ones, or not
    unlabelled = unlabelled | labelled if labels.unlabelled_includes_labelled else unlabelled - labelled
    _tell(rows, labelled, unlabelled, test, labels)
    with atomic(out_csv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SPLIT_COLUMNS)
        for row in sorted(rows, key=lambda row: row["path"]):
            flags = (int(row["path"] in chosen) for chosen in (labelled, unlabelled, test))
            writer.writerow((*(row[column] for column in SPLIT_COLUMNS[:5]), *flags))


def _read_index(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path} is not an index; its columns must be {', '.join(COLUMNS)}")
        return list(reader)


def _test(rows: Sequence[Row], percent: float) -> set[str]:
    """The test videos: those that the index says, else held out."""
    told = {row["path"] for row in rows if row["split"] == "test"}
    if told or not percent:
        return told
    if any(row["split"] for row in rows):
        raise UserError("the dataset marks training videos but no test video: mark some, or leave `split` empty")
    return hold_out([(row["path"], row["class"], row["group"]) for row in rows], percent)


def _training(
    index_csv: Path, rows: Sequence[Row], training: Sequence[Row], dataset: DatasetConfig, labels: LabelsConfig
) -> tuple[set[str], set[str]]:
    """Labelled and unlabelled videos of a protocol."""
    every = {row["path"] for row in training}
    published = dataset.protocols.get(labels.protocol)
    if published is not None:
        known = _Known(index_csv, rows, dataset)
        others = published.unlabelled
        return known.videos(published.labelled), every if others is None else known.videos(others)
    pools: dict[str, list[str]] = defaultdict(list)
    for row in training:
        pools[row["class"]].append(row["path"])
    if labels.protocol == "all":
        return every, every
    if match := PER_CLASS.fullmatch(labels.protocol):
        counts = dict.fromkeys(pools, int(match[1]))
    elif match := PERCENT.fullmatch(labels.protocol):
        counts = percent_counts({name: len(paths) for name, paths in pools.items()}, float(match[1]))
    else:
        names = ", ".join(["all", "per-class-N", "percent-P", *sorted(dataset.protocols)])
        raise UserError(f"unknown label protocol `{labels.protocol}`; this dataset has {names}")
    return draw(pools, counts, labels.draw), every


class _Known:
    """The videos that an index has, and those that it excluded, to look list entries up in."""

    def __init__(self, index_csv: Path, rows: Sequence[Row], dataset: DatasetConfig) -> None:
        self.extensions, self.allowed, self.index = dataset.extensions, dataset.allow_missing, index_csv
        self.classes = {row["path"]: row["class"] for row in rows}
        self.indexed = Matcher(self.classes.items(), self.extensions)
        with excluded_path(index_csv).open(newline="", encoding="utf-8") as file:
            self.reasons = {row["path"]: (row["class"], row["reason"]) for row in csv.DictReader(file)}
        excluded = ((path, name) for path, (name, _) in self.reasons.items())
        self.excluded = Matcher(excluded, self.extensions)

    def videos(self, item: ListFile) -> set[str]:
        """The indexed videos that a list names. Raises UserError for a list that does not fit the index."""
        entries = read_list(item, "train", self.extensions)
        found, absent = self.indexed.match(entries)
        ambiguous = [f"{entry.where}: {entry} is {', '.join(paths)}" for entry, paths in found if len(paths) > 1]
        if ambiguous:
            raise UserError.of("entries of a list mean several videos:", ambiguous[:10])
        refuse_contradictions([(entry, self.classes[paths[0]]) for entry, paths in found])
        unusable, unknown = self.excluded.match(absent)
        self._tell_excluded(unusable, item)
        refuse_missing(unknown, len(entries), self.allowed, f"the index {self.index}")
        if unknown:
            note(f"{item.path}: {len(unknown)} of {len(entries)} videos are absent, e.g. {unknown[0]}")
        return {paths[0] for _, paths in found}

    def _tell_excluded(self, unusable: Sequence[tuple[Entry, list[str]]], item: ListFile) -> None:
        for entry, paths in unusable:
            note(f"{item.path}: {entry} is left out, as the index excludes {paths[0]}: {self.reasons[paths[0]][1]}")


def _refuse_leak(training: set[str], test: set[str], protocol: str) -> None:
    leaked = sorted(training & test)
    if leaked:
        raise UserError.of(f"{len(leaked)} test videos are among the training videos of `{protocol}`:", leaked[:5])


def _tell(rows: Sequence[Row], labelled: set[str], unlabelled: set[str], test: set[str], labels: LabelsConfig) -> None:
    """Counts, and classes without a label: possible in published lists, and easily overlooked."""
    with_label = {row["class"] for row in rows if row["path"] in labelled}
    bare = sorted({row["class"] for row in rows} - with_label)
    note(f"{labels.protocol}: {len(labelled)} labelled, {len(unlabelled)} unlabelled, {len(test)} test videos")
    if bare:
        note(f"warning: {labels.protocol} labels no video of {len(bare)} class(es): {', '.join(bare[:10])}")
