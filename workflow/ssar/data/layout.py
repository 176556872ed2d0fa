"""What a dataset's folder, csv or published lists say about its videos, before any of them is decoded."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sys import intern
from typing import Literal, NamedTuple

from ssar.config import DatasetConfig, group_regex
from ssar.data.lists import Entry, Role, read_list
from ssar.data.matching import Matcher, one_spelling, refuse_contradictions
from ssar.data.table import Candidate, read_table
from ssar.data.walk import find_videos, what_lies_in
from ssar.errors import UserError

Why = Literal["broken", "conflict", "duplicate", "second", "unlisted"]


class Excluded(NamedTuple):
    """A file that is no part of the dataset, and why."""

    path: str
    name: str
    reason: str
    why: Why
    """The kind of reason: it does not decode; the same bytes under two classes; the same bytes as a video that is
    used; another file of a list entry is used; no list names it."""


class Listed(NamedTuple):
    """A video that the training or the test list names, be it there or not."""

    entry: str
    """Equal to `Candidate.entry` of its files."""
    split: Role
    name: str
    """Its class; "" where it is not there and its list has no classes."""
    where: str
    """File and line of the list."""
    found: bool
    """Whether a file of it is there."""


@dataclass
class Layout:
    """The videos of a dataset as they are laid out."""

    candidates: list[Candidate]
    order: dict[str, int] = field(default_factory=dict)
    """The classes numbered from 0 in the order of the training list's labels, where it has any."""
    excluded: list[Excluded] = field(default_factory=list)
    listed: list[Listed] | None = None
    """What the training and test lists name; None for a dataset without lists."""


def lay_out(dataset: DatasetConfig, root: Path) -> Layout:
    """Find the videos under `root` with class, group and split. Raises UserError that lists what is wrong."""
    if not root.is_dir():
        unpacked = root.with_name("unpacked.json")
        if dataset.root is None and unpacked.exists():
            raise UserError(f"{root} is gone: delete {unpacked}, and the same command unpacks the archives again")
        raise UserError(f"no folder {root}: correct the dataset's `root`, or the environment variable in it")
    if dataset.kind == "synthact":
        layout = Layout(read_table(root.parent / "meta.csv", root, "class"))
    elif dataset.csv is not None:
        layout = Layout(read_table(Path(os.path.expandvars(dataset.csv)).expanduser(), root, "label"))
    else:
        layout = _from_folders(dataset, root)
    if dataset.train is not None and dataset.test is not None:
        lists: dict[Role, list[Entry]] = {
            "train": read_list(dataset.train, "train", dataset.extensions),
            "test": read_list(dataset.test, "test", dataset.extensions),
        }
        layout = _from_lists(dataset, one_spelling(lists), layout)
    if not layout.candidates and layout.listed and layout.excluded:
        raise UserError(
            f"{root} has {len(layout.excluded):,} videos, e.g. {layout.excluded[0].path}, and none of them is among "
            f"the {len(layout.listed):,} that the lists name, e.g. {layout.listed[0].entry}: is it another "
            f"dataset, or were its files renamed? Correct the dataset's `root`"
        )
    if not layout.candidates:
        raise UserError(f"no videos in {root}: looked for {', '.join(dataset.extensions)}; {what_lies_in(root)}")
    return _with_groups(dataset.group_pattern, layout)


def _from_folders(dataset: DatasetConfig, root: Path) -> Layout:
    """`root/<class>/<video>`; with lists, and in what was downloaded, the videos may lie deeper or flat."""
    paths = find_videos(root, dataset.extensions)
    if dataset.train is None:
        # a folder of the user's own is as he was told to lay it out; archives have folders above their classes
        depths = [path.count("/") for path in paths]
        exact = dataset.kind == "folder"
        wrong = [path for path, depth in zip(paths, depths, strict=True) if depth < 1 or (exact and depth > 1)]
        if wrong:
            shown = [*wrong[:5], f"and {len(wrong) - 5} more"] if len(wrong) > 5 else wrong
            raise UserError.of(
                f"{root}: videos must lie in <class>/<video>, or be named in a `csv`; these do not:", shown
            )
    # one string for each folder: there may be 260,000 videos
    return Layout([Candidate(path, intern(path.rpartition("/")[0].rpartition("/")[2])) for path in paths])


def _from_lists(dataset: DatasetConfig, lists: dict[Role, list[Entry]], layout: Layout) -> Layout:
    """The videos that the training and test lists name, those that are missing only among `listed`."""
    matcher = Matcher(((video.path, video.name) for video in layout.candidates), dataset.extensions)
    known = {video.path: video for video in layout.candidates}
    chosen: dict[str, Candidate] = {}
    listed: list[Listed] = []
    labels: dict[str, int] = {}
    for split, entries in lists.items():
        matched, missing = matcher.match(entries)
        places = [(entry, known[paths[0]].name) for entry, paths in matched]
        name_of = _Names(entries, places)
        names = [name_of(entry, folder) for entry, folder in (*places, *((entry, "") for entry in missing))]
        found = [*matched, *((entry, []) for entry in missing)]
        refuse_contradictions([(entry, name) for (entry, _), name in zip(found, names, strict=True) if name])
        seen: set[str] = set()
        for (entry, paths), name in zip(found, names, strict=True):
            # a list may name videos that only the folders above their classes tell apart
            text = f"{entry.folder}/{entry.stem}" if str(entry) in seen else str(entry)
            seen.add(text)
            listed.append(Listed(text, split, name, entry.where, bool(paths)))
            if split == "train" and name and entry.label is not None:
                labels[name] = entry.label
            for path in paths:
                if path in chosen:
                    raise UserError(f"{entry.where}: {text} means {path}, as does {chosen[path].entry} of another line")
                chosen[path] = replace(known[path], name=name, split=split, entry=text)
    _refuse_untrained(listed)
    reason = "in neither the training nor the test list"
    unlisted = [Excluded(path, video.name, reason, "unlisted") for path, video in known.items() if path not in chosen]
    order = {name: number for number, name in enumerate(sorted(labels, key=lambda name: labels[name]))}
    return Layout(sorted(chosen.values(), key=lambda video: video.path), order, unlisted, listed)


class _Names:
    """The class of each entry of a list: its folder in the list, else the folder that its file lies in, else, where
    such folders hold several classes, the label itself."""

    def __init__(self, entries: Sequence[Entry], places: Sequence[tuple[Entry, str]]) -> None:
        """`places`: the entries of which a file is there, with its folder."""
        self.in_list = _are_classes((entry.name, entry.label) for entry in entries)
        self.on_disk = _are_classes((folder, entry.label) for entry, folder in places)
        self.of_label = {entry.label: folder for entry, folder in places}

    def __call__(self, entry: Entry, folder: str) -> str:
        """`folder`: where its file lies; "" for an entry that is missing."""
        if self.in_list and entry.name:
            return entry.name
        if self.on_disk:
            return folder or self.of_label.get(entry.label, "")
        return folder if entry.label is None else str(entry.label)


def _are_classes(pairs: Iterable[tuple[str | None, int | None]]) -> bool:
    """Whether folders are classes: one that holds videos of several labels is not."""
    labels: dict[str | None, set[int | None]] = defaultdict(set)
    for folder, label in pairs:
        labels[folder].add(label)
    return all(len(found) == 1 for found in labels.values())


def _refuse_untrained(listed: Iterable[Listed]) -> None:
    """Raise UserError for lists that test a class which they do not train, whatever of it is there."""
    names: dict[Role, set[str]] = {"train": set(), "test": set()}
    for video in listed:
        names[video.split].add(video.name)
    if "" not in names["train"] and (untrained := sorted(names["test"] - names["train"] - {""})):
        raise UserError.of("classes of the test list without a video in the training list:", untrained[:10])


def _with_groups(pattern: str | None, layout: Layout) -> Layout:
    """Recording groups from the paths, for videos that have none yet."""
    if pattern is None:
        return layout
    compiled = group_regex(pattern)
    groups = [
        video.group or (found[1] if (found := compiled.search(video.path)) else "") for video in layout.candidates
    ]
    if not any(groups):
        raise UserError(f"`group_pattern` `{pattern}` fits no path, e.g. not {layout.candidates[0].path}")
    named = [replace(video, group=group) for video, group in zip(layout.candidates, groups, strict=True)]
    return replace(layout, candidates=named)


def number_classes(names: Sequence[str]) -> dict[str, int]:
    """Classes numbered from 0 by sorted name; names that are all whole numbers by their value."""
    numeric = all(name.isdecimal() for name in names)
    return {name: number for number, name in enumerate(sorted(set(names), key=int if numeric else None))}
