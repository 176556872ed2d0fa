"""Transcoding a dataset: every video written anew in a folder of its own, resumable, in one job or in several.

The new files have the paths and names of their sources, endings included, though all are MP4: lists, tables, groups and
draws then mean the same videos as before. In the place of a video that does not decode lies a stand-in that says why.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import av

from ssar.config import DatasetConfig, Transcode
from ssar.data.backends.timetable import read_timetable
from ssar.data.encode import ENCODER, encode
from ssar.data.layout import lay_out
from ssar.data.pool import Lost, on_videos
from ssar.data.probing import STAT_THREADS, State, look
from ssar.data.standin import write_standin
from ssar.disk import is_full
from ssar.engine.failures import reason
from ssar.errors import UserError
from ssar.files import atomic, write_json
from ssar.progress import Meter, note

SILENT_SECONDS = 120.0
TOLD = 20
"""Videos that the log names; the manifest names all."""


class Part(NamedTuple):
    """One of several jobs: every `of`-th video, from number `number`, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"


class Made(NamedTuple):
    """What became of a video."""

    state: State | None
    """Of its source; None where another try may end otherwise."""
    frames: int = 0
    bytes: int = 0
    """Of the new file, or of the stand-in."""
    problem: str | None = None
    content: str = ""
    """SHA-1 of the source."""


def transcode(
    dataset: DatasetConfig,
    root: Path,
    videos: Path,
    out: Path,
    jobs: int,
    part: Part | None = None,
    silent_seconds: float = SILENT_SECONDS,
) -> None:
    """Write the videos of a dataset under `root`, which is only read, to `videos`, and `out`, which sums them up.

    What is done is kept in `transcode/` beside `videos`, a file for each part: an interrupted or repeated call,
    whatever its part, does only what no earlier one has done, or whose source or settings are others now. The call
    without a part also removes what is no video of the dataset from `videos`.

    Raises UserError: no encoder, a part that there is not, a folder, csv or list that is missing or wrong, a folder
    `videos` of something else, a disk that is full, and no video that decodes.
    """
    if dataset.transcode is None:
        raise UserError("the dataset has no `transcode`; `transcode: {}` transcodes it with the defaults")
    if ENCODER not in av.codecs_available:
        raise UserError(f"this build of PyAV has no {ENCODER}: install the wheel, `pip install --force-reinstall av`")
    if part is not None and not 1 <= part.number <= part.of:
        raise UserError(f"there is no part {part.number} of {part.of}: parts are counted from 1")
    # a csv names its videos; elsewhere the new ones would be found as further sources
    if dataset.csv is None and videos.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{videos} lies in the dataset's own folder {root}, which is only read; move `results`")
    every = sorted(video.path for video in lay_out(dataset, root).candidates)
    paths = every if part is None else every[part.number - 1 :: part.of]
    memory = _Memory(root, videos, dataset.transcode, "all" if part is None else str(part))
    if not memory.folder.exists() and videos.exists() and any(videos.iterdir()):
        raise UserError(f"{videos} has files that no call of `transcode` wrote; remove it, or take another folder")
    made = memory.known(paths)
    if made:
        note(f"{len(made)} of {len(paths)} videos are transcoded already")
    work = _Work(root, videos, dataset.transcode)
    wanted = [path for path in paths if path not in made]
    with Meter(len(paths), "transcode", len(made)) as meter, memory:
        for path, result in on_videos(work, wanted, jobs=jobs, seconds=silent_seconds):
            made[path] = _settled(result, videos / path)
            memory.add(path, made[path])
            meter.advance()
        if part is None:
            _refuse_none(made, root)
            for path in _unite(made, videos):
                memory.add(path, made[path])
    if part is None:
        _sweep(videos, set(every))
    _sum_up(made, dataset.transcode, out)


def _settled(result: Made | Full | Lost, target: Path) -> Made:
    """A result; where there is no video, a stand-in is written. Raises UserError for a full disk."""
    if isinstance(result, Full):
        raise UserError(result.text)
    made = Made(None, problem=result.reason) if isinstance(result, Lost) else result
    if made.problem is None:
        return made
    write_standin(target, made.problem)
    return made._replace(bytes=target.stat().st_size)


def _refuse_none(made: Mapping[str, Made], root: Path) -> None:
    if all(found.problem is not None for found in made.values()):
        reasons = [f"{path}: {found.problem}" for path, found in islice(sorted(made.items()), TOLD)]
        raise UserError.of(f"none of {len(made)} videos of {root} can be transcoded:", reasons)


def _unite(made: dict[str, Made], videos: Path) -> Iterator[str]:
    """Equal sources get equal files, by which an index knows duplicates: x264 does not quite promise that.

    Yields the videos whose files were replaced, of which `made` then has the new sizes.
    """
    first: dict[str, str] = {}
    for path, found in sorted(made.items()):
        kept = first.setdefault(found.content, path) if found.problem is None else path
        if kept != path and not filecmp.cmp(videos / kept, videos / path, shallow=False):
            with atomic(videos / path) as temporary:
                shutil.copyfile(videos / kept, temporary)
            made[path] = found._replace(bytes=made[kept].bytes)
            yield path


def _sum_up(made: Mapping[str, Made], how: Transcode, out: Path) -> None:
    failed = {path: found.problem for path, found in sorted(made.items()) if found.problem is not None}
    good = [found for found in made.values() if found.problem is None]
    for path, problem in islice(failed.items(), TOLD):
        note(f"passed over: {path}: {problem}")
    sizes = {
        "videos": len(good),
        "frames": sum(found.frames for found in good),
        "bytes": sum(found.bytes for found in good),
        "source_bytes": sum(found.state.size for found in good if found.state is not None),
    }
    write_json(out, {**how.model_dump(mode="json"), **_encoder(), **sizes, "failed": failed})
    ratio = sizes["bytes"] / max(sizes["source_bytes"], 1)
    note(f"{len(good)} videos, {sizes['bytes'] / 1e6:.1f} MB, {ratio:.2f} of their sources; {len(failed)} passed over")


def _encoder() -> dict[str, str]:
    return {"encoder": ENCODER, "pyav": av.__version__}


# --- one video ------------------------------------------------------------------------------------


class Full(NamedTuple):
    """Instead of a result: nothing more can be written."""

    text: str


@dataclass(frozen=True)
class _Work:
    """Transcodes one video, named by its path under the root."""

    root: Path
    videos: Path
    how: Transcode

    def __call__(self, path: str) -> Made | Full:
        source, target = self.root / path, self.videos / path
        found = look(str(source), fast=False)
        if found.probe.problem is not None:
            return Made(found.state, problem=found.probe.problem)
        try:
            with atomic(target) as temporary:
                encode(source, temporary, self.how, found.probe.frames)
                written = len(read_timetable(str(temporary)).times)
                size = temporary.stat().st_size
        except (OSError, av.FFmpegError, IndexError, ValueError) as error:
            if is_full(error):
                return Full(reason(error))
            return Made(None, problem=f"cannot be encoded: {getattr(error, 'strerror', None) or error}")
        if written != found.probe.frames:
            return Made(None, problem=f"{written} of {found.probe.frames} frames were written")
        return Made(found.state, written, size, content=found.probe.sha1)


# --- the memory -----------------------------------------------------------------------------------


class _Memory:
    """What became of the videos in earlier calls and in other parts, and what becomes of them in this one."""

    def __init__(self, root: Path, videos: Path, how: Transcode, name: str) -> None:
        self.root, self.videos = root, videos
        self.folder = videos.with_name("transcode")
        self.made_with = {**how.model_dump(mode="json"), **_encoder()}
        self.file = self.folder / f"{name}.jsonl"
        self.lines: IO[str] | None = None

    def known(self, paths: Sequence[str]) -> dict[str, Made]:
        """Results of these paths that still hold: same settings and encoder, unchanged source, whole new file."""
        wanted, found = set(paths), dict[str, Made]()
        for path, made in self._records():
            if path in wanted and (path not in found or not self._holds(path, found[path])):
                found[path] = made
        with ThreadPoolExecutor(STAT_THREADS) as threads:
            holds = threads.map(self._holds, found, found.values())
        return {path: made for (path, made), good in zip(found.items(), holds, strict=True) if good}

    def _records(self) -> Iterator[tuple[str, Made]]:
        """What was remembered with the same settings; lines that a killed call was writing say nothing."""
        for file in sorted(self.folder.glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    if record["with"] == self.made_with:
                        made = record["made"]
                        yield record["path"], Made(**{**made, "state": State(*made["state"])})

    def _holds(self, path: str, made: Made) -> bool:
        try:
            size = State.of(f"{self.videos}/{path}").size
            return size == made.bytes and State.of(f"{self.root}/{path}") == made.state
        except OSError:
            return False

    def __enter__(self) -> _Memory:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lines = self.file.open("a", encoding="utf-8")
        if self.lines.tell():
            self.lines.write("\n")  # ends a line that a killed call was writing
        return self

    def add(self, path: str, made: Made) -> None:
        """Remember a result, unless another try may end otherwise."""
        if made.state is not None and self.lines is not None:
            self.lines.write(json.dumps({"path": path, "made": made._asdict(), "with": self.made_with}) + "\n")
            self.lines.flush()

    def __exit__(self, *_: object) -> None:
        if self.lines is not None:
            self.lines.close()


def _sweep(videos: Path, wanted: Collection[str]) -> None:
    """Remove what is no video of the dataset any more, and what killed calls were writing."""
    for folder, _, names in os.walk(videos):
        for name in names:
            path = Path(folder, name)
            if path.relative_to(videos).as_posix() not in wanted:
                path.unlink()
