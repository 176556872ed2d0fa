"""What a dataset's folder, csv or published lists say about its videos, before any of them is decoded."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ssar.config import DatasetConfig
from ssar.data.lists import Entry, Role, read_list
from ssar.data.matching import Matcher, refuse_contradictions, refuse_missing
from ssar.data.table import Candidate, read_table
from ssar.errors import UserError


@dataclass(frozen=True)
class Excluded:
    """A file that is no part of the dataset, and why."""

    path: str
    name: str
    reason: str


@dataclass
class Layout:
    """The videos of a dataset as they are laid out."""

    candidates: list[Candidate]
    order: dict[str, int] = field(default_factory=dict)
    """Class numbers where lists define them; else classes are numbered by sorted name."""
    excluded: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def lay_out(dataset: DatasetConfig, root: Path) -> Layout:
    """Find the videos under `root` with class, group and split. Raises UserError that lists what is wrong."""
    if not root.is_dir():
        raise UserError(f"no folder {root}: correct the dataset's `root`, or the environment variable in it")
    if dataset.kind == "synthact":
        layout = Layout(read_table(root.parent / "meta.csv", root, "class"))
    elif dataset.csv is not None:
        layout = Layout(read_table(Path(os.path.expandvars(dataset.csv)).expanduser(), root, "label"))
    else:
        layout = _from_folders(dataset, root)
    if dataset.train is not None and dataset.test is not None:
        layout = _from_lists(
            dataset,
            {
                "train": read_list(dataset.train, "train", dataset.extensions),
                "test": read_list(dataset.test, "test", dataset.extensions),
            },
            layout,
            root,
        )
    if not layout.candidates:
        raise UserError(f"no videos in {root}: looked for {', '.join(dataset.extensions)}")
    return _with_groups(dataset.group_pattern, layout)


def _from_folders(dataset: DatasetConfig, root: Path) -> Layout:
    """`root/<class>/<video>`; with lists, and in what was downloaded, the videos may lie deeper or flat."""
    endings = tuple(ending.lower() for ending in dataset.extensions)
    paths = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.name.lower().endswith(endings) and not path.name.startswith(".") and path.is_file()
    )
    if dataset.kind == "folder" and dataset.train is None:
        wrong = [path for path in paths if path.count("/") != 1]
        if wrong:
            shown = [*wrong[:5], f"and {len(wrong) - 5} more"] if len(wrong) > 5 else wrong
            raise UserError.of(
                f"{root}: videos must lie in <class>/<video>, or be named in a `csv`; these do not:", shown
            )
    return Layout([Candidate(path, PurePosixPath(path).parent.name) for path in paths])


def _from_lists(dataset: DatasetConfig, lists: dict[Role, list[Entry]], layout: Layout, root: Path) -> Layout:
    """The videos that the training and test lists name; their class is the list's folder name where it has one."""
    matcher = Matcher(((video.path, video.name) for video in layout.candidates), dataset.extensions)
    known = {video.path: video for video in layout.candidates}
    chosen: dict[str, Candidate] = {}
    pairs: dict[Role, list[tuple[Entry, str]]] = defaultdict(list)
    notes = []
    for split, entries in lists.items():
        matched, missing = matcher.match(entries)
        refuse_missing(missing, len(entries), dataset.allow_missing, str(root))
        if missing:
            notes.append(
                f"{len(missing)} of {len(entries)} videos of the {split} list are absent: "
                f"{', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
            )
        by_folder = _folders_are_classes(entries)
        for entry, paths in matched:
            for path in paths:
                if path in chosen:
                    raise UserError(
                        f"{entry.where}: {entry} means {path}, as does {chosen[path].entry} of another line"
                    )
                name = entry.name if by_folder and entry.name else known[path].name
                chosen[path] = replace(known[path], name=name, split=split, entry=str(entry))
            pairs[split].append((entry, chosen[paths[0]].name))
        refuse_contradictions(pairs[split])
    reason = "in neither the training nor the test list"
    unlisted = [Excluded(path, video.name, reason) for path, video in known.items() if path not in chosen]
    return Layout(sorted(chosen.values(), key=lambda video: video.path), _numbers(pairs), unlisted, notes)


def _folders_are_classes(entries: Iterable[Entry]) -> bool:
    """Whether the folders of a list are classes: one that holds videos of several labels is not."""
    labels: dict[str | None, set[int | None]] = defaultdict(set)
    for entry in entries:
        labels[entry.name].add(entry.label)
    return all(len(found) == 1 for found in labels.values())


def _numbers(pairs: dict[Role, list[tuple[Entry, str]]]) -> dict[str, int]:
    """Class numbers from 0 in the order of the training list's labels, whether it counts from 0, from 1 or in gaps."""
    labels = {name: entry.label for entry, name in pairs["train"] if entry.label is not None}
    if not labels:
        return {}
    trained = {name for _, name in pairs["train"]}
    untrained = sorted({name for _, name in pairs["test"]} - trained)
    if untrained:
        raise UserError.of("classes of the test list without a video in the training list:", untrained[:10])
    return {name: number for number, (name, _) in enumerate(sorted(labels.items(), key=lambda item: item[1]))}


def _with_groups(pattern: str | None, layout: Layout) -> Layout:
    """Recording groups from the paths, for videos that have none yet."""
    if pattern is None:
        return layout
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"`group_pattern` `{pattern}` is no regular expression: {error}") from None
    if compiled.groups != 1:
        raise UserError(f"`group_pattern` `{pattern}` must have one group in parentheses: the name of the recording")
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
