"""The split of a dataset: which videos are labelled, unlabelled and for testing."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssar.errors import UserError
from ssar.files import sha256

if TYPE_CHECKING:
    import pandas as pd

SPLIT_COLUMNS = ("path", "label", "class", "group", "frames", "labelled", "unlabelled", "test")
TRAINED_ON = ("path", "label", "class", "frames", "labelled", "unlabelled")
"""The columns that a training depends on."""


class Video(NamedTuple):
    """A video of a split."""

    path: str
    """Relative to the dataset's video folder."""
    label: int
    """The true class. For unlabelled videos for statistics only, never for a loss."""
    frames: int
    """How many frames decode."""


@dataclass(frozen=True)
class Split:
    """The rows of a split file, in the order of their paths."""

    table: pd.DataFrame
    elsewhere: Sequence[Video] | None = None
    """Unlabelled videos of another dataset; their classes are not this one's, so their label is -1."""

    def _videos(self, *flags: str) -> list[Video]:
        rows = self.table[(self.table[list(flags)] == 1).any(axis=1)]
        return [
            Video(path, int(label), int(frames))
            for path, label, frames in zip(rows["path"], rows["label"], rows["frames"], strict=True)
        ]

    @cached_property
    def labelled(self) -> list[Video]:
        """The training videos whose labels a method may use."""
        return self._videos("labelled")

    @cached_property
    def unlabelled(self) -> list[Video]:
        """The training videos that a method sees without labels."""
        return self._videos("unlabelled") if self.elsewhere is None else list(self.elsewhere)

    @cached_property
    def training(self) -> list[Video]:
        """All training videos, as another dataset's unlabelled ones: without their labels."""
        return [video._replace(label=-1) for video in self._videos("labelled", "unlabelled")]

    @cached_property
    def test(self) -> list[Video]:
        """The test videos."""
        return self._videos("test")

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes; a label is an index into them."""
        names = dict(zip(self.table["label"], self.table["class"], strict=True))
        return [str(names[label]) for label in sorted(names)]


def training_checksum(path: str | Path) -> str:
    """Hex sha256 of what a training reads of a split, training videos and classes: test videos train nothing anew.

    Of a file that is something else it is the sha256 of the whole: `read_split` tells. Raises FileNotFoundError.
    """
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != SPLIT_COLUMNS:
            return sha256(path)
        found, classes = hashlib.sha256(), set()
        for row in reader:
            classes.add((row["label"], row["class"]))
            if "1" in (row["labelled"], row["unlabelled"]):
                found.update(json.dumps([row[column] for column in TRAINED_ON]).encode())
    found.update(json.dumps(sorted(classes)).encode())
    return found.hexdigest()


def read_split(path: str | Path) -> Split:
    """Read what `ssar.data.protocols.make_split` wrote. Raises UserError for a file that is something else."""
    import pandas as pd

    try:
        # class and group names may look like numbers, or like missing values
        table = pd.read_csv(path, dtype={"path": str, "class": str, "group": str}, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"no such split: {path}") from None
    absent = [column for column in SPLIT_COLUMNS if column not in table.columns]
    if absent:
        raise UserError(f"{path} is not a split: no column {', '.join(absent)}")
    return Split(table)
