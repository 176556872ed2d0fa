"""Which files the entries of a published list mean, whatever their folders, extensions and spelling."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import NamedTuple

from ssar.data.lists import Entry, Role, stem
from ssar.errors import UserError

SHOWN = 10
CLIP = re.compile(r"(?P<film>.+)_\d{6}_\d{6}")
"""Kinetics: a part of a film. Files of such a name are copies of one video wherever they lie."""


@lru_cache(maxsize=1 << 16)
def same_class(name: str) -> str:
    """A class name without what copies of a dataset spell differently: case, spaces, underscores, punctuation."""
    kept = "".join(sign for sign in unicodedata.normalize("NFKC", name).casefold() if sign.isalnum())
    return kept or name


def same_video(name: str) -> str:
    """The name of a video whatever its case, in one of Unicode's spellings."""
    return unicodedata.normalize("NFC", name).casefold()


def film(name: str) -> str:
    """The film that a Kinetics clip is cut from, after which some copies name it; other names stay as they are."""
    found = CLIP.fullmatch(name)
    return found["film"] if found else name


class _Classes(NamedTuple):
    """The classes that a list names: as it spells them, and without spelling."""

    names: set[str]
    keys: set[str]


class Matcher:
    """Finds videos by the entries of a list. The nearest spelling wins:

    1. Name and class (or the folder that the video lies in) as they are.
    2. The class in another spelling: `HandStandPushups` for `HandstandPushups`, `tying knot` for `tying_knot`.
    3. A folder that is no class of the list, as in archives without class folders.

    Then, among the videos that no entry names exactly, in the same places:

    4. The name in another case.
    5. A Kinetics clip by its film alone, `id` for `id_000001_000011`, or the other way round.

    A video in the folder of another class of the list is never meant.
    """

    def __init__(self, videos: Iterable[tuple[str, str]], extensions: Sequence[str]) -> None:
        """Args: path and class of each video ("" for none)."""
        self.paths: list[str] = []
        self.names: list[str] = []
        self.homes: list[tuple[str, ...]] = []
        self._as_spelled: dict[str, list[int]] = defaultdict(list)
        known: dict[tuple[str, str], tuple[str, ...]] = {}  # one tuple a folder: there may be 260,000 videos
        for number, (path, name) in enumerate(videos):
            folder, _, file = path.rpartition("/")
            pair = (folder.rpartition("/")[2], name)
            self.paths.append(path)
            self.names.append(stem(file, extensions))
            self.homes.append(known.setdefault(pair, tuple({*pair} - {""})))
            self._as_spelled[self.names[-1]].append(number)

    @cached_property
    def _any_case(self) -> dict[str, list[int]]:
        videos: dict[str, list[int]] = defaultdict(list)
        for number, name in enumerate(self.names):
            videos[same_video(name)].append(number)
        return videos

    @cached_property
    def _of_film(self) -> dict[str, list[int]]:
        videos: dict[str, list[int]] = defaultdict(list)
        for number, name in enumerate(self.names):
            videos[film(name)].append(number)
        return videos

    def match(
        self, entries: Sequence[Entry], whole: Sequence[Entry] | None = None
    ) -> tuple[list[tuple[Entry, list[str]]], list[Entry]]:
        """Entries with the paths of their files, sorted, and the entries that no file fits; both in the list's order.

        `whole` is the list that the entries are a part of: it says which folders are classes. Several files of one
        entry are copies: in one folder, or of a Kinetics clip. Raises UserError that lists the entries that could mean
        several videos, and the videos that several entries mean.
        """
        names = {entry.name for entry in (entries if whole is None else whole) if entry.name}
        classes = _Classes(names, {same_class(name) for name in names})
        chosen = {place: self._named(entry, classes) for place, entry in enumerate(entries)}
        taken = {number for numbers in chosen.values() for number in numbers}
        for place, numbers in chosen.items():
            if not numbers:
                chosen[place] = self._alike(entries[place], classes, taken)
        self._refuse_doubt(entries, chosen)
        found = [
            (entries[place], sorted([self.paths[number] for number in numbers]))
            for place, numbers in chosen.items()
            if numbers
        ]
        return found, [entries[place] for place, numbers in chosen.items() if not numbers]

    def _named(self, entry: Entry, classes: _Classes) -> list[int]:
        """The videos that have an entry's name."""
        videos = self._as_spelled.get(entry.stem, [])
        own = [number for number in videos if entry.name in self.homes[number]]
        return self._nearest(entry, own) if own else self._in_place(entry, videos, classes)

    def _alike(self, entry: Entry, classes: _Classes, taken: set[int]) -> list[int]:
        """The videos whose names are an entry's in another spelling, except those that another entry has named."""
        of_film = self._of_film.get(film(entry.stem), [])
        if CLIP.fullmatch(entry.stem):
            # another clip of the same film is another video
            of_film = [number for number in of_film if not CLIP.fullmatch(self.names[number])]
        for videos in (self._any_case.get(same_video(entry.stem), []), of_film):
            found = self._in_place(entry, [number for number in videos if number not in taken], classes)
            if found:
                return found
        return []

    def _in_place(self, entry: Entry, videos: Sequence[int], classes: _Classes) -> list[int]:
        """Of these videos those in an entry's class, or else those in folders that are no class of the list."""
        if entry.name is None:
            return self._nearest(entry, videos)
        key = same_class(entry.name)
        own, elsewhere = [], []
        for number in videos:
            homes = self.homes[number]
            if any(home == entry.name or (home not in classes.names and same_class(home) == key) for home in homes):
                own.append(number)
            elif not any(home in classes.names or same_class(home) in classes.keys for home in homes):
                elsewhere.append(number)
        return self._nearest(entry, own or elsewhere)

    def _nearest(self, entry: Entry, videos: Sequence[int]) -> list[int]:
        """Of videos in several folders those in the folder that the entry spells: `train/Run/a` is not `val/Run/a`."""
        if self._are_copies(videos):
            return list(videos)
        agreement = [_common_end(entry.folder, self._folder(number)) for number in videos]
        return [number for number, parts in zip(videos, agreement, strict=True) if parts == max(agreement)]

    def _folder(self, number: int) -> str:
        return self.paths[number].rpartition("/")[0]

    def _are_copies(self, videos: Sequence[int]) -> bool:
        """Whether files are copies of one video."""
        if len(videos) <= 1:
            return True
        names = {self.names[number] for number in videos}
        one_place = len({self._folder(number) for number in videos}) == 1
        return len(names) == 1 and (one_place or CLIP.fullmatch(self.names[videos[0]]) is not None)

    def _refuse_doubt(self, entries: Sequence[Entry], chosen: Mapping[int, Sequence[int]]) -> None:
        problems: list[str] = []
        meant: dict[int, Entry] = {}
        for place, numbers in chosen.items():
            entry = entries[place]
            if not self._are_copies(numbers):
                paths = ", ".join(sorted(self.paths[number] for number in numbers)[:SHOWN])
                problems.append(f"{entry.where}: {entry} could be {paths}")
                continue
            for number in numbers:
                first = meant.setdefault(number, entry)
                if first is not entry:
                    video = self.paths[number]
                    problems.append(f"{entry.where}: {entry} means {video}, as does {first} in {first.where}")
        if problems:
            raise UserError.of("list and folder do not say which video is meant; correct one of them:", shown(problems))


def _common_end(first: str, second: str) -> int:
    """How many folders two paths have in common, counted from their ends."""
    pairs = zip(reversed(first.split("/")), reversed(second.split("/")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def shown(problems: Sequence[str]) -> list[str]:
    """The first problems, and how many more there are."""
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *([f"and {more} more"] if more > 0 else [])]


def one_spelling(lists: Mapping[Role, Sequence[Entry]]) -> dict[Role, list[Entry]]:
    """Lists with each class spelled as where it is first named, so that one class never becomes two.

    Raises UserError for a list without labels that names two classes which only their spelling tells apart, and for
    one whose folders and numbers contradict each other.
    """
    for entries in lists.values():
        _refuse_mixed(entries)
    spelled: dict[str, Entry] = {}
    distinct: set[str] = set()
    for entries in lists.values():
        own: dict[str, Entry] = {}
        for entry in entries:
            if entry.name is None:
                continue
            key = same_class(entry.name)
            first = own.setdefault(key, entry)
            if first.name != entry.name and first.label != entry.label:
                distinct.add(key)
            elif first.name != entry.name and entry.label is None:
                raise UserError(
                    f"{entry.where}: {entry.name}, and {first.name} in {first.where}: without labels nothing says "
                    f"whether these are two classes, or one in two spellings; correct the list"
                )
            spelled.setdefault(key, entry)

    def respelled(entry: Entry) -> Entry:
        key = same_class(entry.name) if entry.name else ""
        first = spelled.get(key, entry)
        return entry if first.name == entry.name or key in distinct else entry._replace(name=first.name)

    return {role: [respelled(entry) for entry in entries] for role, entries in lists.items()}


def _refuse_mixed(entries: Sequence[Entry]) -> None:
    """Raise UserError where some folders hold videos of several numbers, though folders are classes otherwise.

    A list whose folders hold several classes each, such as `videos_train/`, is another thing.
    """
    numbers: dict[str, dict[int, Entry]] = defaultdict(dict)
    for entry in entries:
        if entry.name is not None and entry.label is not None:
            numbers[entry.name].setdefault(entry.label, entry)
    classes = [number for labels in numbers.values() if len(labels) == 1 for number in labels]
    mixed = {name: labels for name, labels in numbers.items() if len(labels) > 1}
    if mixed and len(classes) > len(mixed) and len(set(classes)) == len(classes):
        lines = [
            f"{name}: " + " and ".join(f"{number} ({entry.where})" for number, entry in labels.items())
            for name, labels in mixed.items()
        ]
        raise UserError.of(
            "folders of a list are classes, but these hold videos of several class numbers; where the folders are "
            "right, set `numbers: false` for the list:",
            shown(lines),
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
