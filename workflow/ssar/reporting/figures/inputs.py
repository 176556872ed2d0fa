"""What a figure is drawn from, and which test videos it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssar.data.split import read_split
from ssar.errors import UserError
from ssar.reporting.sources import Role, Source


@dataclass(frozen=True)
class ShownVideo:
    """A test video of the split."""

    path: str  # relative to the video root
    label: int
    name: str  # of its class
    frames: int


@dataclass(frozen=True)
class FigureInputs:
    """A figure's specification and the files that it may read."""

    spec: Any  # the FigureSpec of the kind that is drawn
    video_root: Path
    split: Path
    files: dict[Source, list[Path]]  # one per seed

    def seeds(self, variant: str, role: Role, condition: str = "") -> list[Path]:
        """The files of all seeds of a variant."""
        return self.files[Source(variant, self.spec.setting, role, condition)]

    def first(self, variant: str, role: Role) -> Path:
        """The file of a variant's first seed, for what shows single networks."""
        return self.seeds(variant, role)[0]

    @property
    def shared(self) -> str | None:
        """A sentence on variants whose runs are the same ones at this scale, so that nothing tells them apart."""
        names: dict[tuple[Path, ...], dict[str, None]] = {}
        for source, paths in self.files.items():
            names.setdefault(tuple(paths), {})[source.variant] = None
        groups = dict.fromkeys(", ".join(found) for found in names.values() if len(found) > 1)
        return f"At this scale these are the same runs: {'; '.join(groups)}." if groups else None

    def listed(self, flag: Literal["unlabelled", "test"]) -> dict[str, ShownVideo]:
        """The split's unlabelled videos, or its test videos, by path."""
        table = read_split(self.split).table
        table = table[table[flag] == 1]
        columns = zip(table["path"], table["label"], table["class"], table["frames"], strict=True)
        return {path: ShownVideo(path, int(label), name, int(frames)) for path, label, name, frames in columns}

    def test_videos(self, min_frames: int) -> list[ShownVideo]:
        """As many as the figure shows, drawn by its seed: of different classes as far as there are enough.

        Raises UserError when no test video has `min_frames` frames.
        """
        table = read_split(self.split).table
        table = table[(table["test"] == 1) & (table["frames"] >= min_frames)].sort_values("path")
        if table.empty:
            raise UserError(f"{self.split} has no test video of {min_frames} frames or more to draw")
        shuffled = table.iloc[np.random.default_rng(self.spec.seed).permutation(len(table))]
        # the first of every class, then the second of every class, ...
        turn = shuffled.groupby("label").cumcount()
        chosen = shuffled.assign(turn=turn).sort_values("turn", kind="stable").head(self.spec.videos)
        columns = zip(chosen["path"], chosen["label"], chosen["class"], chosen["frames"], strict=True)
        return [ShownVideo(path, int(label), name, int(frames)) for path, label, name, frames in columns]
