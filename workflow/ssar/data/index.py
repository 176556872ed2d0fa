"""The index of a dataset: every video decoded once to its end, the unusable ones named and left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path

import av

from ssar.config import DatasetConfig
from ssar.data.layout import lay_out, number_classes
from ssar.data.pool import Lost, on_videos
from ssar.data.probe import Probe, probe
from ssar.data.report import index_report
from ssar.data.selection import differences, usable_videos
from ssar.data.table import Candidate
from ssar.errors import UserError
from ssar.files import atomic, write_text
from ssar.progress import Meter, note

COLUMNS = ("path", "class", "label", "group", "split", "frames", "fps", "width", "height", "sha1")
SILENT_SECONDS = 60.0


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
    """Write `index_csv` (COLUMNS; usable videos only, sorted by path), its excluded videos and a report.

    Results are kept in `index-cache.jsonl` beside it as they come: an interrupted or repeated call decodes only what
    is new or changed. A video whose decoder says nothing for `silent_seconds` is excluded.

    Raises UserError: a folder or csv that is missing or wrong, lists that do not fit, no usable video, or another
    number of classes than the dataset's config says.
    """
    layout = lay_out(dataset, root)
    probes = _probe_all(
        layout.candidates, root, index_csv.with_name("index-cache.jsonl"), dataset.fast, jobs, silent_seconds
    )
    usable = usable_videos(layout, probes)
    if not usable:
        reasons = [f"{item.path}: {item.reason}" for item in layout.excluded[:5]]
        raise UserError.of(f"no usable video in {root}; {len(layout.excluded)} excluded:", reasons)
    numbers = layout.order or number_classes([video.name for video in usable])
    if dataset.classes is not None and len(numbers) != dataset.classes:
        raise UserError(
            f"{root} has usable videos of {len(numbers)} classes, the dataset's `classes` says {dataset.classes}"
        )
    layout.notes += differences(dataset, layout, usable, probes)
    rows = (_row(video, numbers, probes[video.path]) for video in usable)
    _write_csv(
        excluded_path(index_csv), ("path", "class", "reason"), ((x.path, x.name, x.reason) for x in layout.excluded)
    )
    write_text(report_md, index_report(usable, layout, probes, numbers))
    _write_csv(index_csv, COLUMNS, rows)
    note(f"indexed {len(usable)} videos of {len(numbers)} classes, {len(layout.excluded)} excluded: see {report_md}")


def _row(video: Candidate, numbers: dict[str, int], found: Probe) -> tuple[object, ...]:
    size = (found.frames, f"{found.fps:g}", found.width, found.height, found.sha1)
    return (video.path, video.name, numbers[video.name], video.group, video.split, *size)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[tuple[object, ...]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


# --- decoding, with a memory ----------------------------------------------------------------------


def _probe_all(
    videos: list[Candidate], root: Path, cache: Path, fast: bool, jobs: int, seconds: float
) -> dict[str, Probe]:
    """What is in every video, by path relative to the root."""
    known = _remembered(cache, root, fast)
    probes = {video.path: known[video.path][1] for video in videos if video.path in known}
    wanted = {str(root / video.path): video.path for video in videos if video.path not in probes}
    if probes:
        note(f"{len(probes)} of {len(videos)} videos are known from an earlier call")
    cache.parent.mkdir(parents=True, exist_ok=True)
    results = on_videos(partial(probe, fast=fast), list(wanted), jobs=jobs, seconds=seconds)
    with cache.open("a", encoding="utf-8") as file, Meter(len(videos), "index", len(probes)) as meter:
        for full, result in results:
            path = wanted[full]
            if isinstance(result, Lost):
                # not remembered: a slow disk may have been to blame
                probes[path] = Probe(problem=result.reason)
            else:
                probes[path] = result
                file.write(json.dumps(_state(root / path) | {"path": path, "fast": fast, **result.as_dict()}) + "\n")
                file.flush()
            meter.advance()
    return probes


def _state(path: Path) -> dict[str, object]:
    """What tells that a remembered result still holds."""
    status = path.stat()
    return {"size": status.st_size, "mtime": status.st_mtime_ns, "decoder": av.__version__}


def _remembered(cache: Path, root: Path, fast: bool) -> dict[str, tuple[str, Probe]]:
    """Lines and results of earlier calls that still hold; the file is rewritten with these only."""
    if not cache.exists():
        return {}
    known = {}
    names = {field.name for field in fields(Probe)}
    for line in cache.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that was being written when a call was killed
        path = root / record["path"]
        if (fast or not record["fast"]) and path.exists() and _state(path).items() <= record.items():
            known[record["path"]] = (line, Probe(**{name: record[name] for name in names}))
    write_text(cache, "".join(line + "\n" for line, _ in known.values()))
    return known
