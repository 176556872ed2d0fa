"""Comparing two splits: common videos against chance, balance, nesting, labels and leakage."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ssar.config import group_regex
from ssar.data.lists import Entry
from ssar.data.matching import CLIP, film, same_class, same_video
from ssar.data.sides import Side
from ssar.errors import UserError

Key = Callable[[Entry], Hashable]


class Balance(NamedTuple):
    """Labelled videos per class, over the classes that have any, and the classes that have none."""

    classes: int
    least: int
    median: float
    most: int
    without: list[str]


class Labels(NamedTuple):
    """How the labels of the videos that both sides name agree."""

    compared: int
    other_class: list[str]
    """Videos of different classes, in words."""
    numbering: str
    """How the class numbers differ: `the same`, `by +1`, `another order`, `contradictory` or `unknown`."""


class Leak(NamedTuple):
    """Training videos of one side (A or B) in the test set of one; None where a list is not known."""

    train: str
    test: str
    labelled: int | None
    unlabelled: int | None
    groups: int | None
    """Recording groups with training videos of the one and test videos of the other."""


@dataclass(frozen=True)
class Comparison:
    """What two splits have in common."""

    a: Side
    b: Side
    common: int
    pool: int | None
    chance: tuple[float, float] | None
    """Mean and standard deviation of the common videos of two independent draws of these sizes."""
    balance: tuple[Balance | None, Balance | None]
    labels: Labels
    shared_groups: int | None
    """Recording groups with labelled videos of both sides."""
    leaks: list[Leak]
    same_test: bool | None
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The same for other programs."""
        sides = []
        for side, balance in zip((self.a, self.b), self.balance, strict=True):
            counts = {role: _size(getattr(side, role)) for role in ("labelled", "unlabelled", "test")}
            sides.append({"title": side.title, **counts, "balance": balance._asdict() if balance else None})
        return {
            "a": sides[0],
            "b": sides[1],
            "common": self.common,
            "pool": self.pool,
            "chance": dict(zip(("mean", "std"), self.chance, strict=True)) if self.chance else None,
            "a_in_b": self.common == len(self.a.labelled),
            "b_in_a": self.common == len(self.b.labelled),
            "labels": self.labels._asdict(),
            "shared_groups": self.shared_groups,
            "same_test": self.same_test,
            "leaks": [leak._asdict() for leak in self.leaks],
            "notes": self.notes,
        }


def compare(a: Side, b: Side, group_pattern: str | None = None) -> Comparison:
    """Compare two sides. `group_pattern` names the recording group of a path; none: that of either side's dataset.

    Raises UserError where the two name their videos in ways that cannot be told to be the same, and for a pattern that
    is no regular expression with one group.
    """
    key = _key(a, b)
    first, second = {key(video) for video in a.labelled}, {key(video) for video in b.labelled}
    common = len(first & second)
    pool = _pool(a, b, key)
    groups = _groups(a, b, group_pattern)
    labelled = [groups(side, side.labelled) for side in (a, b)]
    sides = (("A", a), ("B", b))
    tests = [None if side.test is None else {key(video) for video in side.test} for side in (a, b)]
    return Comparison(
        a,
        b,
        common,
        pool,
        _chance(len(first), len(second), pool),
        _balances(a, b),
        _labels(a, b, key),
        None if labelled[0] is None or labelled[1] is None else len(labelled[0] & labelled[1]),
        [_leak(train, test, key, groups) for train in sides for test in sides],
        None if tests[0] is None or tests[1] is None else tests[0] == tests[1],
        list(dict.fromkeys(note for letter, side in sides for note in (*side.notes, *_mixed(letter, side)))),
    )


# --- which videos are the same --------------------------------------------------------------------


def _all(side: Side) -> Iterable[Entry]:
    for videos in (side.labelled, side.unlabelled, side.test, side.pool):
        yield from videos or ()


def _key(a: Side, b: Side) -> Key:
    """What makes videos of both sides the same: their names; with their classes where names occur in several."""
    videos = [{(same_class(video.name or ""), video.stem) for video in _all(side)} for side in (a, b)]
    spell: Callable[[str], str] = same_video
    clips = [{CLIP.fullmatch(name) is not None for _, name in side} for side in videos]
    if clips in ([{True}, {False}], [{False}, {True}]):
        spell = film
    for side, named in zip((a, b), videos, strict=True):
        if len({(name, spell(video)) for name, video in named}) < len(named):
            if spell is film:
                raise UserError(f"{side.title} has several clips of one film, and the other side names films alone")
            spell = str
    alone = all(len({spell(video) for _, video in named}) == len(named) for named in videos)
    if alone:
        return lambda video: spell(video.stem)
    for side, named in zip((a, b), videos, strict=True):
        if any(not name for name, _ in named):
            raise UserError(f"{side.title} names videos without their class, and names occur in several classes")
    return lambda video: (same_class(video.name or ""), spell(video.stem))


def _pool(a: Side, b: Side, key: Key) -> int | None:
    """How many videos both are drawn from; None where that is not known, or not the same videos."""
    known = [{key(video) for video in side.pool} for side in (a, b) if side.pool]
    drawn = {key(video) for side in (a, b) for video in side.labelled}
    if known:
        return len(known[0]) if known[0] == known[-1] and drawn <= known[0] else None
    sizes = {side.pool_size for side in (a, b)} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def _chance(first: int, second: int, pool: int | None) -> tuple[float, float] | None:
    """Mean and standard deviation of a hypergeometric distribution; None where a side is the whole pool."""
    if pool is None or pool <= max(first, second):
        return None
    mean = first * second / pool
    return mean, math.sqrt(mean * (1 - first / pool) * (pool - second) / (pool - 1))


# --- classes and labels ---------------------------------------------------------------------------


def _class_of(side: Side) -> Callable[[Entry], str] | None:
    """What names the class of a labelled video: its number where folders hold videos of several classes."""
    if _by_name(side):
        return lambda video: same_class(video.name or "")
    if all(video.label is not None for video in side.labelled):
        return lambda video: f"label {video.label}"
    return None


def _by_name(side: Side) -> bool:
    """Whether the folders of a list are its classes."""
    labels = _numbers(side)
    return "" not in labels and 2 * sum(len(numbers) == 1 for numbers in labels.values()) > len(labels)


def _numbers(side: Side) -> dict[str, Counter[int | None]]:
    """Class numbers of the labelled videos in each folder."""
    found: dict[str, Counter[int | None]] = defaultdict(Counter)
    for video in side.labelled:
        found[video.name or ""][video.label] += 1
    return found


def _mixed(letter: str, side: Side) -> list[str]:
    """Folders of a list that hold videos of several class numbers, in words, though folders are its classes."""
    if not _by_name(side):
        return []
    return [
        f"{letter}: {name} has videos of the class numbers "
        + " and ".join(f"{number} ({count:,})" for number, count in numbers.most_common())
        for name, numbers in sorted(_numbers(side).items())
        if len(numbers) > 1
    ]


def _balances(a: Side, b: Side) -> tuple[Balance | None, Balance | None]:
    """Balance of both; where both know their classes by name, also the classes that only the other knows."""
    known: dict[str, str] = {}
    if _by_name(a) and _by_name(b):
        for video in (*_all(a), *_all(b)):
            known.setdefault(same_class(video.name or ""), video.name or "")
    return _balance(a, known), _balance(b, known)


def _balance(side: Side, known: Mapping[str, str]) -> Balance | None:
    class_of = _class_of(side)
    if class_of is None:
        return None
    counts = Counter(class_of(video) for video in side.labelled)
    sizes = sorted(counts.values())
    without = sorted(name for key, name in known.items() if key not in counts)
    return Balance(len(counts), sizes[0], statistics.median(sizes), sizes[-1], without)


def _labels(a: Side, b: Side, key: Key) -> Labels:
    pairs = _pairs(_all(a), _all(b), key)
    by_name = _by_name(a) and _by_name(b)
    other = [
        f"{one} ({one.where}) is of the class {two.name} in {two.where}"
        for one, two in pairs
        if by_name and one.name and two.name and same_class(one.name) != same_class(two.name)
    ]
    # the lists of one side may number differently themselves
    return Labels(len(pairs), other, _numbering(_pairs(a.labelled, b.labelled, key)))


def _pairs(first: Iterable[Entry], second: Iterable[Entry], key: Key) -> list[tuple[Entry, Entry]]:
    known = {key(video): video for video in second}
    named = {key(video): video for video in first}
    return [(video, known[name]) for name, video in named.items() if name in known]


def _numbering(pairs: Sequence[tuple[Entry, Entry]]) -> str:
    numbers = {(one.label, two.label) for one, two in pairs if one.label is not None and two.label is not None}
    if not numbers:
        return "unknown"
    shifts = {two - one for one, two in numbers}
    if shifts == {0}:
        return "the same"
    if len(shifts) == 1:
        return f"by {shifts.pop():+d}"
    firsts, seconds = ({pair[side] for pair in numbers} for side in (0, 1))
    return "another order" if len(firsts) == len(seconds) == len(numbers) else "contradictory"


# --- leakage --------------------------------------------------------------------------------------

Groups = Callable[[Side, Iterable[Entry]], "set[str] | None"]


def _groups(a: Side, b: Side, pattern: str | None) -> Groups:
    """What finds the recording groups of videos: None where nothing says what they are."""
    pattern = pattern or a.pattern or b.pattern
    try:
        compiled = group_regex(pattern) if pattern else None
    except ValueError as error:
        raise UserError(f"`--groups`: {error}") from None

    def groups(side: Side, videos: Iterable[Entry]) -> set[str] | None:
        found = set()
        for video in videos:
            match = compiled.search(f"{video.folder}/{video.stem}") if compiled else None
            found.add(match[1] if match else side.groups.get(str(video), ""))
        return found - {""} or None

    return groups


def _leak(train: tuple[str, Side], test: tuple[str, Side], key: Key, groups: Groups) -> Leak:
    (first, trained), (second, tester) = train, test
    if tester.test is None:
        return Leak(first, second, None, None, None)
    tested = {key(video) for video in tester.test}
    labelled = sum(key(video) in tested for video in trained.labelled)
    unlabelled = None if trained.unlabelled is None else sum(key(video) in tested for video in trained.unlabelled)
    both = groups(trained, [*trained.labelled, *(trained.unlabelled or ())]), groups(tester, tester.test)
    shared = None if both[0] is None or both[1] is None else len(both[0] & both[1])
    return Leak(first, second, labelled, unlabelled, shared)


def _size(videos: Sequence[Entry] | None) -> int | None:
    return None if videos is None else len(videos)
