"""What the index of a dataset found out, video by video: for the report and for what programs read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from ssar.config import DatasetConfig
from ssar.data.completeness import Completeness
from ssar.data.layout import Excluded, Layout, Listed, Why
from ssar.data.probe import Probe
from ssar.data.table import Candidate

Fate = Literal["usable", "duplicate", "unusable", "missing"]
"""What became of a listed video: a duplicate is left out, but its content is used once."""


class Tally(NamedTuple):
    """Counts of listed videos."""

    listed: int
    found: int
    usable: int
    missing: int
    unusable: int
    duplicate: int

    @classmethod
    def of(cls, fates: Mapping[Fate, int]) -> Tally:
        listed, missing = sum(fates.values()), fates.get("missing", 0)
        rest: tuple[Fate, Fate] = ("unusable", "duplicate")
        return cls(listed, listed - missing, fates.get("usable", 0), missing, *(fates.get(fate, 0) for fate in rest))


@dataclass(frozen=True)
class Verified:
    """An indexed dataset."""

    name: str
    config: DatasetConfig
    root: Path
    layout: Layout
    usable: Sequence[Candidate]
    probes: Mapping[str, Probe]
    numbers: Mapping[str, int]
    """The label of each class."""

    @property
    def listed(self) -> Sequence[Listed]:
        return self.layout.listed or ()

    @cached_property
    def fates(self) -> Sequence[Fate]:
        """Of each of `listed`. An entry with several files is as good as the best of them."""
        usable = {(video.split, video.entry) for video in self.usable}
        copies = {item.path for item in self.layout.excluded if item.why == "duplicate"}
        same = {(video.split, video.entry) for video in self.layout.candidates if video.path in copies}
        return [
            "missing" if not video.found
            else "usable" if (video.split, video.entry) in usable
            else "duplicate" if (video.split, video.entry) in same
            else "unusable"
            for video in self.listed
        ]  # fmt: skip

    @cached_property
    def _counts(self) -> Counter[tuple[str, str, Fate]]:
        return Counter((video.name, video.split, fate) for video, fate in zip(self.listed, self.fates, strict=True))

    def tally(self, name: str | None = None, split: str | None = None) -> Tally:
        """Of the listed videos of a class and a split, or of all."""
        fates: Counter[Fate] = Counter()
        for (of, part, fate), count in self._counts.items():
            if name in (None, of) and split in (None, part):
                fates[fate] += count
        return Tally.of(fates)

    @property
    def completeness(self) -> Completeness:
        total = self.tally()
        return Completeness(self.name, total.listed, total.missing, total.unusable)

    def missing(self) -> Iterator[Listed]:
        """The listed videos that are not there, in the order of the lists."""
        return (video for video in self.listed if not video.found)

    def excluded(self, *why: Why) -> list[Excluded]:
        """The files that were left out for these reasons, sorted by path."""
        return [item for item in self.layout.excluded if item.why in why]

    def shorter(self) -> Iterator[tuple[str, Probe]]:
        """Usable videos with fewer frames than their container states."""
        for video in self.usable:
            if (found := self.probes[video.path]).stated > found.frames:
                yield video.path, found

    def barren(self) -> list[str]:
        """Classes that the lists or the folders name and that have no usable video."""
        names = {video.name for video in self.listed} | {video.name for video in self.layout.candidates}
        return sorted(names - {video.name for video in self.usable} - {""})
