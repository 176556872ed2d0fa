"""Which files the entries of a published list mean: by class and name, whatever their folders and extensions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from ssar.data.lists import Entry, stem
from ssar.errors import UserError

SHOWN = 5


class Matcher:
    """Finds videos by the entries of a list.

    A video is known by its name and its class, or the folder that it lies in; by its name alone where it lies in a
    folder that is no class of the list, as in archives without class folders.
    """

    def __init__(self, videos: Iterable[tuple[str, str]], extensions: Sequence[str]) -> None:
        """Args: path and class of each video ("" for none)."""
        self.named: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.stems: dict[str, list[tuple[str, set[str]]]] = defaultdict(list)
        for path, name in videos:
            place = PurePosixPath(path)
            key, homes = stem(place.name, extensions), {place.parent.name, name} - {""}
            self.stems[key].append((path, homes))
            for home in homes:
                self.named[home, key].add(path)

    def match(self, entries: Sequence[Entry]) -> tuple[list[tuple[Entry, list[str]]], list[Entry]]:
        """Entries with the paths of their files, sorted, and the entries that no file fits."""
        names = {entry.name for entry in entries}
        found, missing = [], []
        for entry in entries:
            paths = self.named.get((entry.name, entry.stem), set()) if entry.name else set()
            paths = paths or {path for path, homes in self.stems.get(entry.stem, []) if not homes & names}
            if entry.name is None:
                paths = {path for path, _ in self.stems.get(entry.stem, [])}
            if paths:
                found.append((entry, sorted(paths)))
            else:
                missing.append(entry)
        return found, missing


def refuse_missing(missing: Sequence[Entry], total: int, allowed: float, place: str) -> None:
    """Raise UserError if more than the allowed share of a list's `total` videos is missing."""
    if len(missing) <= allowed * total:
        return
    shown = [f"{entry.where}: {entry}" for entry in missing[:SHOWN]]
    if len(missing) > SHOWN:
        shown.append(f"and {len(missing) - SHOWN} more")
    raise UserError.of(
        f"{len(missing)} of a list's {total} videos are not in {place}; complete the dataset, or set its "
        f"`allow_missing` to at least {len(missing) / total:.2g}:",
        shown,
    )


def refuse_contradictions(pairs: Sequence[tuple[Entry, str]]) -> None:
    """Raise UserError unless each class name goes with one of the list's labels, and each label with one name."""
    names: dict[int, tuple[str, Entry]] = {}
    labels: dict[str, tuple[int, Entry]] = {}
    for entry, name in pairs:
        if entry.label is None:
            continue
        other, first = names.setdefault(entry.label, (name, entry))
        if other != name:
            raise UserError(f"{entry.where}: label {entry.label} is {name} here and {other} in {first.where}")
        label, first = labels.setdefault(name, (entry.label, entry))
        if label != entry.label:
            raise UserError(f"{entry.where}: {name} has label {entry.label} here and {label} in {first.where}")
