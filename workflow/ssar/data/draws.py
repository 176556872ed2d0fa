"""Random draws of videos as pure functions of their names: independent of the order in which videos are listed."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ssar.errors import UserError


def shuffled(names: Iterable[str], *words: object) -> list[str]:
    """Names in an order that depends on them and on the words only.

    A name's rank among others does not change when further names are added or removed.
    """
    prefix = "\0".join(map(str, words)) + "\0"
    return sorted(names, key=lambda name: (hashlib.sha256((prefix + name).encode()).digest(), name))


def percent_counts(sizes: Mapping[str, int], percent: float) -> dict[str, int]:
    """How many of each class are `percent` % of all: stratified, at least one each.

    The total is `percent` % of all videos rounded half up (but at least one a class); it is reached by giving, again
    and again, one more to the class that is furthest below its exact share, which is the method of largest
    remainders. Ties go to the first class by name.
    """
    share = {name: size * percent / 100 for name, size in sizes.items()}
    counts = dict.fromkeys(sizes, 1)
    left = math.floor(sum(sizes.values()) * percent / 100 + 0.5) - len(sizes)
    queue = [(1 - share[name], name) for name in sorted(sizes) if sizes[name] > 1]
    heapq.heapify(queue)
    while left > 0 and queue:
        _, name = heapq.heappop(queue)
        counts[name] += 1
        left -= 1
        if counts[name] < sizes[name]:
            heapq.heappush(queue, (counts[name] - share[name], name))
    return counts


def draw(pools: Mapping[str, Sequence[str]], counts: Mapping[str, int], seed: int) -> set[str]:
    """That many videos of each class. With equal seeds a smaller draw is part of a larger one.

    Raises UserError that names the classes with too few videos.
    """
    short = [
        f"{name} has {len(pools[name])} training videos, {count} are asked for"
        for name, count in sorted(counts.items())
        if count > len(pools[name])
    ]
    if short:
        raise UserError.of("more labels than videos:", short)
    return {path for name, count in counts.items() for path in shuffled(pools[name], "labels", seed)[:count]}


def hold_out(videos: Sequence[tuple[str, str, str]], percent: float) -> set[str]:
    """Test videos: about `percent` % of each class, recording groups whole, at least one video of each class.

    Groups are taken in random order as long as each brings the classes closer to their shares; then classes without a
    test video get the group of theirs that does so best. The draw is one for the dataset: it has no seed.

    Args:
        videos: path, class and group ("" for none) of every video.

    Raises UserError that names classes of which nothing can be held out, since all their videos are of one group.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    for path, name, group in videos:
        # a video without a group is one of its own; the prefix keeps it apart from groups named like a path
        members[f"group {group}" if group else f"video {path}"].append((path, name))
        sizes[name] += 1
    lacking = {name: sizes[name] * percent / 100 for name in sizes}
    chosen: list[str] = []
    tested: set[str] = set()

    def gain(group: str) -> float:
        """How much closer the classes come to their shares, as a sum of squares over classes."""
        counts = _count(members[group])
        return sum(lacking[name] ** 2 - (lacking[name] - count) ** 2 for name, count in counts.items())

    def take(group: str) -> None:
        chosen.append(group)
        for name, count in _count(members[group]).items():
            lacking[name] -= count
            tested.add(name)

    order = shuffled(members, "test")
    for group in order:
        if gain(group) > 0:
            take(group)
    for name in sorted(sizes):
        if name not in tested:
            take(max((group for group in order if any(name == of for _, of in members[group])), key=gain))
    held = {path for group in chosen for path, _ in members[group]}
    bare = sorted(set(sizes) - {name for path, name, _ in videos if path not in held})
    if bare:
        raise UserError.of(
            "no training video is left of classes whose videos are of one group, or one video; add videos or groups, "
            "or give the dataset a split of its own:",
            bare,
        )
    return held


def _count(members: Iterable[tuple[str, str]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for _, name in members:
        counts[name] += 1
    return counts
