"""Temporal gradients of a whole dataset, made once and read at random.

A store is a folder: ``store.json`` (what it holds and how it was made) and, for each video, one file with all of its
gradients, so that 1.8 million gradients of UCF-101 are 13 thousand files. Sizes and speeds: ``benchmarks/tg_store.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssar.config import DatasetConfig, TemporalGradient, TGCodec
from ssar.data import tg_file
from ssar.data.reader import backend_name, open_video
from ssar.data.temporal_gradient import Sign, temporal_gradient
from ssar.data.watchdog import beat
from ssar.data.workers import in_order
from ssar.errors import UserError
from ssar.files import sha256, write_json
from ssar.progress import note, track
from ssar.runtime import Runtime

VERSION = 1
CHUNK = 64
"""Frames that the extraction decodes at once: 64 of 1920x1080 are 400 MB."""


class Settings(NamedTuple):
    """What decides the bytes of a store besides the videos."""

    interval: int
    sign: Sign
    codec: TGCodec
    short_side: int | None
    version: int = VERSION


class TGStore:
    """Random access to a store, given its folder or its manifest.

    Raises UserError for a store that is not finished or of another version. Instances are small, hold no file open,
    and can be sent to other processes.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        manifest = path if path.suffix == ".json" else path / "store.json"
        self.folder = manifest.parent
        try:
            values = json.loads(manifest.read_text(encoding="utf-8"))
            self.settings = Settings(**{name: values[name] for name in Settings._fields})
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{manifest} is not the manifest of a finished store of temporal gradients ({error!r}); extract it anew"
            ) from error
        if self.settings.version != VERSION:
            raise UserError(f"{manifest} is of version {self.settings.version}, not {VERSION}; extract it anew")

    def check(self, tg: TemporalGradient, codec: TGCodec, short_side: int | None) -> None:
        """Raise UserError unless the store holds gradients of exactly these settings."""
        wanted = Settings(tg.interval, tg.sign, codec, short_side)
        pairs = zip(Settings._fields, wanted, self.settings, strict=True)
        problems = [f"{name} is {found!r}, the run wants {want!r}" for name, want, found in pairs if want != found]
        if problems:
            raise UserError.of(f"the temporal gradients in {self.folder} are not those of this run:", problems)

    def frames(self, video: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Gradients of a video, named as in the index, at `indices`: uint8 (len, H, W, 3).

        Repeated and unsorted indices are fine. Raises UserError, naming the video, for a missing or damaged file and
        for an index that has no gradient.
        """
        path = video_file(self.folder, video)
        try:
            return tg_file.read(path, indices)
        except tg_file.Unreadable as error:
            raise UserError(f"{path}: no temporal gradients of {video} to read ({error}); extract them anew") from error


def video_file(folder: Path, video: str) -> Path:
    """Where a store keeps a video's gradients."""
    return folder / "videos" / f"{video}.tg"


class _Video(NamedTuple):
    video: str  # path relative to the video root
    frames: int
    sha1: str

    def count(self, interval: int) -> int:
        """Gradients of the video: the last `interval` frames have none."""
        return max(self.frames - interval, 0)


@dataclass(frozen=True)
class _Extraction:
    """Writes the file of one video, unless it is there already, and returns its size, or what went wrong."""

    root: Path
    folder: Path
    settings: Settings
    reader: str

    def __call__(self, item: _Video) -> int | str:
        path, count = video_file(self.folder, item.video), item.count(self.settings.interval)
        header: dict[str, Any] = {**self.settings._asdict(), "count": count, "sha1": item.sha1}
        try:
            if not tg_file.holds(path, header):
                tg_file.write(path, header, self._gradients(item))
        except UserError as error:
            return str(error)
        return path.stat().st_size

    def _gradients(self, item: _Video) -> Iterator[np.ndarray]:
        interval, sign = self.settings.interval, self.settings.sign
        reader = open_video(self.root / item.video, self.reader, self.settings.short_side)
        try:
            earlier: list[np.ndarray] = []
            for start in range(0, item.frames, CHUNK):
                frames = [*earlier, *reader.frames(range(start, min(start + CHUNK, item.frames)))]
                for t in range(len(frames) - interval):
                    yield temporal_gradient(frames[t], frames[t + interval], sign)
                earlier = frames[-interval:]
                beat()
        finally:
            reader.close()


def extract(
    dataset: DatasetConfig,
    tg: TemporalGradient,
    index: Path,
    root: Path,
    out: Path,
    jobs: int,
    runtime: Runtime | None = None,
) -> None:
    """Write the gradients of every video of `index` (csv) under `root` to the store whose manifest is `out`.

    Resumable: files that an interrupted extraction finished are kept where video and settings are the same. The
    manifest is written last. Raises UserError that lists all videos that fail, or names one that hangs.
    """
    import pandas as pd  # which the decoding processes, that import this file, do without

    runtime = runtime or Runtime()
    settings = Settings(tg.interval, tg.sign, dataset.tg_codec, dataset.decode_short_side)
    table = pd.read_csv(index, usecols=["path", "frames", "sha1"], dtype={"path": str, "frames": int, "sha1": str})
    items = [_Video(*row) for row in zip(table["path"], table["frames"].tolist(), table["sha1"], strict=True)]
    work = _Extraction(root, out.parent, settings, runtime.reader)
    results = in_order(work, items, workers=jobs, seconds=runtime.watchdog_seconds)
    size, problems = 0, []
    for _, result in track(results, len(items), f"temporal gradients, n = {tg.interval}"):
        if isinstance(result, int):
            size += result
        else:
            problems.append(result)
    if problems:
        raise UserError.of(f"{len(problems)} of {len(items)} videos gave no temporal gradients:", problems)
    count = sum(item.count(tg.interval) for item in items)
    made = {"reader": backend_name(runtime.reader), "index_sha256": sha256(index)}
    write_json(out, {**settings._asdict(), **made, "videos": len(items), "frames": count, "bytes": size})
    note(f"{out}: {len(items)} videos, {count} gradients, {size / 1e6:.1f} MB as {settings.codec}")
