"""Label protocols: drawing or reading which videos of an index are labelled, unlabelled and for testing."""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ssar.checks import PER_CLASS, PERCENT
from ssar.config import DatasetConfig, LabelsConfig, ListFile
from ssar.data.completeness import missing_path, refuse_incomplete
from ssar.data.draws import draw, hold_out, percent_counts
from ssar.data.index import COLUMNS, excluded_path
from ssar.data.lists import Entry, Role, read_list
from ssar.data.matching import Matcher, one_spelling, refuse_contradictions, same_class, shown
from ssar.data.selection import DUPLICATE
from ssar.data.split import SPLIT_COLUMNS
from ssar.errors import UserError
from ssar.files import atomic
from ssar.progress import note


class Row(NamedTuple):
    """What of a row of an index a split needs, as text."""

    path: str
    label: str
    name: str
    group: str
    frames: str
    split: str


def make_split(index_csv: Path, dataset: DatasetConfig, labels: LabelsConfig, out_csv: Path) -> None:
    """Write a row with the columns SPLIT_COLUMNS for each video of an index, sorted by path.

    - test: the test videos of a published protocol that has its own, or the index's; where it has none,
      `dataset.test_percent` of each class, groups whole.
    - labelled: of the other videos all, N per class, P percent (see `ssar.data.draws`), or those of a published list.
    - unlabelled: the training videos, or those of a published list; with or without the labelled ones.

    A list's entry whose file the index excluded as a duplicate is the equal file that the index has, unless that one is
    for testing. The label of a row is the true one, or for a list with `numbers: labels` the one that is trained on.

    Raises UserError: more listed videos are missing than `allow_missing` admits, more labels than videos, a list that
    does not fit the index, a test video among the labelled or unlabelled ones, an unknown protocol.
    """
    refuse_incomplete(index_csv, dataset.allow_missing)
    rows = _read_index(index_csv)
    published = dataset.protocols.get(labels.protocol)
    trained_as: dict[str, str] = {}
    if published is None:
        test = _test(rows, dataset.test_percent)
        training = _training(index_csv, rows, test)
        labelled, unlabelled = _drawn(training, dataset, labels), {row.path for row in training}
    else:
        known = _Known(index_csv, rows, dataset)
        if published.test is None:
            test = _test(rows, dataset.test_percent)
            training = _training(index_csv, rows, test)
        else:
            test = set(known.videos(published.test, "test"))
            training = [row for row in rows if row.path not in test]
        found = known.videos(published.labelled, "train", test)
        if published.labelled.numbers == "labels":
            trained_as = known.trained_as(published.labelled, found)
        labelled = set(found)
        unlabelled = (
            {row.path for row in training}
            if published.unlabelled is None
            else set(known.videos(published.unlabelled, "train", test))
        )
    _refuse_leak(labelled | unlabelled, test, labels.protocol)
    # a published list may leave labelled videos out of the unlabelled ones, or not
    unlabelled = unlabelled | labelled if labels.unlabelled_includes_labelled else unlabelled - labelled
    _tell(rows, labelled, unlabelled, test, labels)
    with atomic(out_csv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SPLIT_COLUMNS)
        numbers = {row.name: row.label for row in rows}
        for row in sorted(rows):
            if (name := trained_as.get(row.path)) is not None:
                row = row._replace(label=numbers[name], name=name)
            flags = (int(row.path in chosen) for chosen in (labelled, unlabelled, test))
            writer.writerow((*row[:5], *flags))


def _read_index(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        if tuple(next(reader, ())) != COLUMNS:
            raise UserError(f"{path} is not an index; its columns must be {', '.join(COLUMNS)}")
        one = sys.intern  # an index may have 260,000 rows, and each class and number is one object
        return [
            Row(path, one(label), one(name), one(group), one(frames), one(split))
            for path, name, label, group, split, frames, *_ in reader
        ]


def _test(rows: Sequence[Row], percent: float) -> set[str]:
    """The test videos: those that the index says, else held out."""
    told = {row.path for row in rows if row.split == "test"}
    if told or not percent:
        return told
    if any(row.split for row in rows):
        raise UserError("the dataset marks training videos but no test video: mark some, or leave `split` empty")
    return hold_out([(row.path, row.name, row.group) for row in rows], percent)


def _training(index_csv: Path, rows: Sequence[Row], test: set[str]) -> list[Row]:
    training = [row for row in rows if row.path not in test and row.split in ("train", "")]
    if not training:
        raise UserError(f"{index_csv}: no training video")
    return training


def _drawn(training: Sequence[Row], dataset: DatasetConfig, labels: LabelsConfig) -> set[str]:
    """The labelled videos of a protocol that is no published list."""
    pools: dict[str, list[str]] = defaultdict(list)
    for row in training:
        pools[row.name].append(row.path)
    if labels.protocol == "all":
        return {row.path for row in training}
    if match := PER_CLASS.fullmatch(labels.protocol):
        counts = dict.fromkeys(pools, int(match[1]))
    elif match := PERCENT.fullmatch(labels.protocol):
        counts = percent_counts({name: len(paths) for name, paths in pools.items()}, float(match[1]))
    else:
        names = ", ".join(["all", "per-class-N", "percent-P", *sorted(dataset.protocols)])
        raise UserError(f"unknown label protocol `{labels.protocol}`; this dataset has {names}")
    return draw(pools, counts, labels.draw)


class _Known:
    """The videos that an index has, those that it excluded and those that it misses, to look list entries up in."""

    def __init__(self, index_csv: Path, rows: Sequence[Row], dataset: DatasetConfig) -> None:
        self.extensions, self.index = dataset.extensions, index_csv
        self.classes = {row.path: row.name for row in rows}
        self.by_key = {same_class(name): name for name in set(self.classes.values())}
        self.indexed = Matcher(self.classes.items(), self.extensions)
        self.excluded = {row["path"]: (row["class"], row["reason"]) for row in _records(excluded_path(index_csv))}
        missing = missing_path(index_csv)
        self.missing = [row["entry"] for row in _records(missing)] if missing.exists() else []
        self.tested_copies: set[str] = set()
        """Test videos that a test list names by a duplicate only."""

    def videos(self, item: ListFile, role: Role, test: Collection[str] = ()) -> dict[str, Entry]:
        """The indexed videos that a list names, each with its entry.

        A duplicate that the index excluded is the equal video that the index has; for training, unless that one is
        among the `test` videos. Other entries that the index excluded, and those that the official lists name and the
        folder has not, are told and left out. Raises UserError for a list that does not fit the index.
        """
        entries = one_spelling({role: read_list(item, role, self.extensions)})[role]
        found, absent = self.indexed.match(entries)
        ambiguous = [f"{entry.where}: {entry} is {', '.join(paths)}" for entry, paths in found if len(paths) > 1]
        if ambiguous:
            raise UserError.of("entries of a list mean several videos:", shown(ambiguous))
        self._refuse_other_classes([(entry, paths[0]) for entry, paths in found])
        refuse_contradictions([(entry, self.classes[paths[0]]) for entry, paths in found])
        unusable, absent = self._among(((path, name) for path, (name, _) in self.excluded.items()), absent, entries)
        named = {paths[0]: entry for entry, paths in found}
        copies: dict[str, Entry] = {}
        for entry, paths in unusable:
            reason = self.excluded[paths[0]][1]
            kept = reason.removeprefix(DUPLICATE)
            if kept not in self.classes:
                note(f"{item.path}: {entry} is left out, as the index excludes {paths[0]}: {reason}")
            elif kept in test:
                note(f"{item.path}: {entry} is left out: its duplicate {kept} is a test video")
            elif kept not in named:
                note(f"{item.path}: {entry} has the content of {kept}, which stands for it")
                copies.setdefault(kept, entry)
        missing, unknown = self._among(((name, "") for name in self.missing), absent, entries)
        if missing:
            note(f"{item.path}: {len(missing)} of {len(entries)} videos are missing here, e.g. {missing[0][0]}")
        if unknown:
            raise UserError.of(
                f"{len(unknown)} of a list's {len(entries)} videos are not in the index {self.index}, nor among those "
                f"that it excluded or that the official lists miss. Is it a list of another dataset? If not, take "
                f"these lines out of a copy of it, and let its `path` name the copy:",
                shown([f"{entry.where}: {entry}" for entry in unknown]),
            )
        if role == "test":
            self.tested_copies |= copies.keys()
        for path in sorted(named.keys() & self.tested_copies if role == "train" else ()):
            note(f"{item.path}: {named.pop(path)} is left out: a duplicate of it is a test video")
        return named | copies

    def trained_as(self, item: ListFile, found: Mapping[str, Entry]) -> dict[str, str]:
        """The class that is trained on, of those `found` videos of a list whose number says another than their folder.

        A number means the class that most of its videos are of. Raises UserError where two numbers mean one class.
        """
        numbered = read_list(item.model_copy(update={"numbers": True}), "train", self.extensions)
        number_of = {(entry.folder, entry.stem): entry.label for entry in numbered}
        numbers = {path: number_of[entry.folder, entry.stem] for path, entry in found.items()}
        counts: dict[int | None, Counter[str]] = defaultdict(Counter)
        for path, number in numbers.items():
            counts[number][self.classes[path]] += 1
        name_of = {number: min(names, key=lambda name: (-names[name], name)) for number, names in counts.items()}
        if None in name_of or len(set(name_of.values())) < len(name_of):
            raise UserError(
                f"{item.path}: its numbers do not tell classes apart; `numbers: labels` needs those that do"
            )
        other = {path: name_of[number] for path, number in numbers.items() if name_of[number] != self.classes[path]}
        note(f"{item.path}: {len(other)} labelled videos are trained on as another class than that of their folder")
        return other

    def _among(
        self, videos: Iterator[tuple[str, str]], entries: Sequence[Entry], whole: Sequence[Entry]
    ) -> tuple[list[tuple[Entry, list[str]]], list[Entry]]:
        return Matcher(videos, self.extensions).match(entries, whole) if entries else ([], [])

    def _refuse_other_classes(self, found: Sequence[tuple[Entry, str]]) -> None:
        """A list may name folders that are no classes, but not put a video into another class of the index."""
        wrong = [
            f"{entry.where}: {entry} is {path}, of the class {self.classes[path]}"
            for entry, path in found
            if entry.name and self.by_key.get(same_class(entry.name), self.classes[path]) != self.classes[path]
        ]
        if wrong:
            raise UserError.of("a list has videos in other classes than the index:", shown(wrong))


def _records(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _refuse_leak(training: set[str], test: set[str], protocol: str) -> None:
    leaked = sorted(training & test)
    if leaked:
        raise UserError.of(f"{len(leaked)} test videos are among the training videos of `{protocol}`:", leaked[:5])


def _tell(rows: Sequence[Row], labelled: set[str], unlabelled: set[str], test: set[str], labels: LabelsConfig) -> None:
    """Counts, and classes without a label: possible in published lists, and easily overlooked."""
    with_label = {row.name for row in rows if row.path in labelled}
    bare = sorted({row.name for row in rows} - with_label)
    note(f"{labels.protocol}: {len(labelled)} labelled, {len(unlabelled)} unlabelled, {len(test)} test videos")
    if bare:
        note(f"warning: {labels.protocol} labels no video of {len(bare)} class(es): {', '.join(bare[:10])}")
