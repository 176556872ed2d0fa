"""The index of a dataset: every video decoded once to its end, the unusable ones named and left out."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from zlib import crc32

from ssar.config import DatasetConfig
from ssar.data.completeness import completeness_path, missing_path
from ssar.data.layout import lay_out, number_classes
from ssar.data.probe import Probe
from ssar.data.probing import probe_all
from ssar.data.report import report, verdict
from ssar.data.selection import usable_videos
from ssar.data.table import Candidate
from ssar.data.verified import Verified
from ssar.errors import UserError
from ssar.files import atomic, write_json, write_text
from ssar.progress import note

COLUMNS = ("path", "class", "label", "group", "split", "frames", "fps", "width", "height", "sha1")
SILENT_SECONDS = 60.0
PARTS = "index"
"""The folder beside an index with what its parts found."""


def excluded_path(index_csv: Path) -> Path:
    """The list of videos that are not in an index: path, class and reason."""
    return index_csv.with_name("index-excluded.csv")


def build_index(
    dataset: DatasetConfig,
    root: Path,
    index_csv: Path,
    report_md: Path,
    jobs: int,
    silent_seconds: float = SILENT_SECONDS,
) -> None:
    """Write `index_csv` (COLUMNS; usable videos only, sorted by path) and what else is known, beside it.

    The others are its excluded videos, `report_md`, `completeness.json` and `missing.csv`. They are written however
    many of the listed videos are missing. Results are kept in `index-cache.jsonl` as they come: an interrupted or
    repeated call decodes only what is new or changed, and nothing that a part (see `index_part`) has looked into. A
    video whose decoder says nothing for `silent_seconds` is excluded.

    Raises UserError: a folder or csv that is missing or wrong, lists that do not fit, no usable video, or another
    number of classes than the dataset's config says.
    """
    layout = lay_out(dataset, root)
    cache, parts = index_csv.with_name("index-cache.jsonl"), sorted((index_csv.parent / PARTS).glob("*.jsonl"))
    paths = [video.path for video in layout.candidates]
    probes = probe_all(
        paths, root, cache, parts, fast=dataset.fast, jobs=jobs, silent_seconds=silent_seconds, label="index"
    )
    usable = usable_videos(layout, probes)
    if not usable:
        reasons = [f"{item.path}: {item.reason}" for item in layout.excluded[:5]]
        raise UserError.of(f"no usable video in {root}; {len(layout.excluded)} excluded:", reasons)
    # the index writes into results/data/<dataset>
    found = Verified(index_csv.parent.name, dataset, root, layout, usable, probes, _numbers(layout.order, usable))
    _refuse_classes(found)
    _write(found, index_csv, report_md)
    note(f"{found.name}: {verdict(found).replace('**', '')} See {report_md}")


def index_part(
    dataset: DatasetConfig,
    root: Path,
    part: int,
    parts: int,
    out_json: Path,
    jobs: int,
    silent_seconds: float = SILENT_SECONDS,
) -> None:
    """Look into one of `parts` shares of a dataset's videos, counted from 1, and write how many those are.

    The results are kept beside `out_json`, as JSON lines, for `build_index`. A share is a matter of the videos' paths
    alone: what comes or goes meanwhile moves no other video, and `build_index` looks into what no part has seen.
    Raises UserError as `build_index` does for what can be told without decoding.
    """
    paths = [video.path for video in lay_out(dataset, root).candidates if share(video.path, parts) == part]
    cache = out_json.with_suffix(".jsonl")
    earlier = [path for path in sorted(out_json.parent.glob("*.jsonl")) if path != cache]
    whole = out_json.parent.with_name("index-cache.jsonl")
    probe_all(
        paths,
        root,
        cache,
        [whole, *earlier],
        fast=dataset.fast,
        jobs=jobs,
        silent_seconds=silent_seconds,
        label=f"index, part {part} of {parts}",
    )
    write_json(out_json, {"part": part, "parts": parts, "videos": len(paths)})


def share(path: str, parts: int) -> int:
    """Which of `parts` parts, from 1, looks into a video."""
    return crc32(path.encode()) % parts + 1


def _numbers(order: dict[str, int], usable: Sequence[Candidate]) -> dict[str, int]:
    """The labels, from 0, of the classes that have a usable video: in the lists' order, else by name."""
    names = {video.name for video in usable}
    ordered = [name for name in order if name in names]
    rest = sorted(number_classes(list(names - set(ordered))).items(), key=lambda item: item[1])
    return {name: number for number, name in enumerate([*ordered, *(name for name, _ in rest)])}


def _refuse_classes(found: Verified) -> None:
    wanted = found.config.classes
    if wanted is None or len(found.numbers) == wanted:
        return
    barren = found.barren()
    shown = f"; without any: {', '.join(barren[:20])}{', ...' if len(barren) > 20 else ''}" if barren else ""
    raise UserError(
        f"{found.root} has usable videos of {len(found.numbers)} classes, the dataset's `classes` says {wanted}{shown}"
    )


def _write(found: Verified, index_csv: Path, report_md: Path) -> None:
    """All files, the index last."""
    excluded = (item[:3] for item in found.layout.excluded)
    _write_csv(excluded_path(index_csv), ("path", "class", "reason"), excluded)
    missing = ((video.entry, video.split, video.where) for video in found.missing())
    _write_csv(missing_path(index_csv), ("entry", "split", "where"), missing)
    found.completeness.write(completeness_path(index_csv))
    write_text(report_md, report(found))
    rows = (_row(video, found.numbers[video.name], found.probes[video.path]) for video in found.usable)
    _write_csv(index_csv, COLUMNS, rows)


def _row(video: Candidate, label: int, found: Probe) -> tuple[object, ...]:
    size = (found.frames, f"{found.fps:g}", found.width, found.height, found.sha1)
    return (video.path, video.name, label, video.group, video.split, *size)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[tuple[object, ...]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
