"""How many videos, frames and bytes a dataset has: counted where it is here, else as published or estimated.

Nothing here imports torch, decodes a video or asks the network.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ssar.checks import PER_CLASS, PERCENT, class_sizes
from ssar.config import DatasetConfig, RunConfig
from ssar.errors import UserError
from ssar.targets import WHOLE, Targets

PER_CLASS_LABELS = {"kinetics400": {1: 6, 10: 60}}
"""Videos of each class in lists that are named after a percentage but are drawn per class (Kinetics: 1 % is 6)."""

TRANSCODED = 0.06
"""Bytes of transcoded videos per pixel at crf 18, which 6 less doubles (benchmarks/transcode.py)."""

STORE_RATIO = {"webp": 0.3, "zlib": 0.47, "jpeg": 0.11}
"""Bytes of a store per raw byte of its gradients, on noisy videos (docs/performance.md); UCF-101 needs half of it."""


@dataclass(frozen=True)
class Sizes:
    """A dataset at a glance. `source` says where the numbers come from."""

    training: int
    test: int
    classes: int
    frames: float  # of a video, on average
    width: int
    height: int
    source: str

    @property
    def videos(self) -> int:
        return self.training + self.test

    def decoded(self, short_side: int | None) -> tuple[int, int]:
        """Width and height of the frames that a decoder returns."""
        if short_side is None:
            return self.width, self.height
        scale = short_side / min(self.width, self.height)
        return round(self.width * scale), round(self.height * scale)


class Known(NamedTuple):
    """What is known of a dataset before it is downloaded, beside what its config says. All but `test` are estimates."""

    test: int
    frames: float
    width: int
    height: int
    download: float  # bytes, where the config's files do not state theirs
    unpacked: float


KNOWN = {
    # 27 hours at 25 frames per second in 13,320 videos
    "ucf101": Known(3783, 182, 320, 240, 7.0e9, 7.0e9),
    # clips of 1 to 10 seconds at 30 frames per second
    "hmdb51": Known(1530, 95, 320, 240, 4.2e9, 4.3e9),
    # 10 seconds each; of 436 GB of archives (443 GB unpacked) an eighth is a test set that nothing here reads
    "kinetics400": Known(19881, 280, 340, 256, 3.8e11, 3.9e11),
}


def dataset_sizes(targets: Targets, name: str) -> Sizes:
    """The sizes of a dataset: of its index, else of its generator, its class folders or the published counts.

    They are those of its transcoded videos, where it has some. Raises UserError for a dataset of which nothing of that
    is there.
    """
    index = Path(targets.paths.data(name, "index.csv"))
    dataset = targets.dataset(name)
    if index.exists():
        return _counted(str(index), index.stat().st_mtime_ns, dataset.test_percent)
    sizes = _expected(name, dataset, index)
    if dataset.transcode is not None and dataset.transcode.short_side < min(sizes.width, sizes.height):
        width, height = sizes.decoded(dataset.transcode.short_side)
        sizes = replace(sizes, width=width, height=height)
    return sizes


def _expected(name: str, dataset: DatasetConfig, index: Path) -> Sizes:
    """The sizes of a dataset's own videos before it is indexed."""
    if dataset.synthact is not None:
        made = dataset.synthact
        counts = made.classes * made.train_per_class, made.classes * made.test_per_class, made.classes
        return Sizes(
            *counts, (made.min_frames + made.max_frames) / 2, made.width, made.height, "its generator's options"
        )
    if name in KNOWN and dataset.videos and dataset.classes:
        known = KNOWN[name]
        lengths = (known.frames, known.width, known.height)
        return Sizes(dataset.videos, known.test, dataset.classes, *lengths, "published counts, estimated lengths")
    if found := class_sizes(dataset):
        videos = sum(found.values())
        test = round(videos * dataset.test_percent / 100)
        return Sizes(
            videos - test, test, len(found), 250, 320, 240, "files counted, lengths assumed: 250 frames, 320x240"
        )
    raise UserError(f"dataset `{name}`: the number of its videos is unknown before it is indexed; make {index} first")


@lru_cache(maxsize=32)
def _counted(path: str, _changed: int, test_percent: float) -> Sizes:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        columns = ("split", "class", "frames", "width", "height")
        wanted = itemgetter(*map(next(reader, columns).index, columns))
        # an index may have 260,000 lines: as dictionaries they would take 300 MB
        rows = [(split == "test", name, *map(int, rest)) for split, name, *rest in map(wanted, reader)]
    if not rows:
        raise UserError(f"{path} lists no video; index the dataset again")
    tests, names, frames, widths, heights = zip(*rows, strict=True)
    test = sum(tests) or round(len(rows) * test_percent / 100)
    sides = (round(median(widths)), round(median(heights)))
    return Sizes(len(rows) - test, test, len(set(names)), sum(frames) / len(rows), *sides, "its index")


@dataclass(frozen=True)
class Streams:
    """How many videos each stream of a run has."""

    labelled: int
    unlabelled: int
    test: int


def streams(targets: Targets, run_id: str) -> Streams:
    """The sizes of a run's split: of its file, where it is there, else by the rule of its label protocol."""
    run = targets.run(run_id)
    path = Path(targets.paths.split(*run.split_key))
    found = _split(str(path), path.stat().st_mtime_ns) if path.exists() else _by_rule(targets, run.config)
    other = run.config.unlabelled
    if other is None:
        return found
    elsewhere = Path(targets.paths.split(other.dataset, *WHOLE))
    if elsewhere.exists():
        whole = _split(str(elsewhere), elsewhere.stat().st_mtime_ns)
        return Streams(found.labelled, max(whole.labelled, whole.unlabelled), found.test)
    return Streams(found.labelled, dataset_sizes(targets, other.dataset).training, found.test)


@lru_cache(maxsize=256)
def _split(path: str, _changed: int) -> Streams:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        columns = ("labelled", "unlabelled", "test")
        wanted = itemgetter(*map(next(reader, columns).index, columns))
        counts = [0, 0, 0]
        for flags in map(wanted, reader):
            counts = [count + (flag == "1") for count, flag in zip(counts, flags, strict=True)]
    return Streams(*counts)


def _by_rule(targets: Targets, config: RunConfig) -> Streams:
    sizes = dataset_sizes(targets, config.dataset)
    labelled = min(_labelled(config.labels.protocol, config.dataset, sizes), sizes.training)
    left = sizes.training if config.labels.unlabelled_includes_labelled else sizes.training - labelled
    return Streams(labelled, left, sizes.test)


def _labelled(protocol: str, dataset: str, sizes: Sizes) -> int:
    """Labelled videos of a protocol, by its name: videossl-P is P %, svformer-N is N of each class."""
    if protocol == "all":
        return sizes.training
    family, _, number = protocol.rpartition("-")
    if match := PER_CLASS.fullmatch(protocol):
        return int(match[1]) * sizes.classes
    if match := PERCENT.fullmatch(protocol):
        return max(sizes.classes, round(sizes.training * float(match[1]) / 100))
    per_class = PER_CLASS_LABELS.get(dataset, {}).get(int(number)) if number.isdecimal() else None
    if per_class is not None:
        return per_class * sizes.classes
    if family == "svformer" and number.isdecimal():
        return int(number) * sizes.classes
    if number.isdecimal():
        return round(sizes.training * int(number) / 100)
    raise UserError(f"labels `{protocol}` of {dataset}: how many videos it labels is unknown before the split is made")


def download_bytes(name: str, dataset: DatasetConfig) -> float:
    """Bytes to fetch, 0 where nothing is; without a stated size the estimate of `KNOWN`, else 0."""
    if dataset.kind != "download" or dataset.root:
        return 0.0
    stated = [item.bytes for item in dataset.files if item.bytes]
    whole = not any(item.parts for item in dataset.files) and len(stated) == len(dataset.files)
    return float(sum(stated)) if whole else KNOWN[name].download if name in KNOWN else float(sum(stated))


def video_bytes(name: str, dataset: DatasetConfig, sizes: Sizes) -> float:
    """Bytes of the videos on disk that do not exist yet; a folder of the user's own adds nothing."""
    if dataset.kind == "folder" or dataset.root:
        return 0.0
    if name in KNOWN and dataset.kind == "download":
        return KNOWN[name].unpacked
    if dataset.kind == "download":
        return download_bytes(name, dataset)
    return sizes.videos * sizes.frames * sizes.width * sizes.height * 0.06  # as measured


def transcoded_bytes(dataset: DatasetConfig, sizes: Sizes) -> float:
    """Bytes of the transcoded videos of a dataset that has some."""
    if dataset.transcode is None:
        return 0.0
    pixels = sizes.videos * sizes.frames * sizes.width * sizes.height
    return pixels * TRANSCODED * 2 ** ((18 - dataset.transcode.crf) / 6)


def store_bytes(dataset: DatasetConfig, sizes: Sizes) -> float:
    """Bytes of a store of temporal gradients."""
    width, height = sizes.decoded(dataset.decode_short_side)
    return sizes.videos * sizes.frames * width * height * 3 * STORE_RATIO[dataset.tg_codec]


def datasets(targets: Targets, run_ids: Iterator[str]) -> list[str]:
    """The datasets that runs read, once."""
    found: dict[str, None] = {}
    for run_id in run_ids:
        config = targets.run(run_id).config
        found |= dict.fromkeys([config.dataset, *([config.unlabelled.dataset] if config.unlabelled else [])])
    return list(found)
