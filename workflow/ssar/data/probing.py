"""Probing many videos, with a memory: an interrupted call goes on where it stopped, a repeated one looks into what is
new or changed only."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av

from ssar.data.pool import Lost, on_videos
from ssar.data.probe import RULES, Probe, probe
from ssar.files import about
from ssar.progress import Meter, note

STAT_THREADS = 16
"""Questions to the file server at once: each takes as long as the network, and there is one for every video."""

NAMES = tuple(field.name for field in fields(Probe))
KEYS = {"size", "mtime", "decoder", "rules", "path", "fast", *NAMES}
"""Of a line of results."""
FOUND_BY = {"decoder": av.__version__, "rules": RULES}


class State(NamedTuple):
    """What tells that a file is still the one that was looked into."""

    size: int
    mtime: int  # nanoseconds

    @classmethod
    def of(cls, path: str) -> State:
        """Raises OSError."""
        status = os.stat(path)
        return cls(status.st_size, status.st_mtime_ns)


class Looked(NamedTuple):
    """What was found in a file, and which file that was; no state where a second look may find something else."""

    state: State | None
    probe: Probe


def probe_all(
    paths: Sequence[str],
    root: Path,
    cache: Path,
    earlier: Sequence[Path],
    *,
    fast: bool,
    jobs: int,
    silent_seconds: float,
    label: str,
) -> dict[str, Probe]:
    """What is in each video, by its path relative to `root`; worked on by `jobs` processes.

    Results go to `cache` as they come, a line of JSON each. Those in `cache` and in the files `earlier` that still hold
    are taken from there: same size and time of the file, same decoder and rules, and as thorough as `fast` asks for.
    A video whose decoder says nothing for `silent_seconds` is one with a problem.
    """
    probes = _known(dict.fromkeys(paths), root, [*earlier, cache], fast)
    wanted = {f"{root}/{path}": path for path in paths if path not in probes}
    if probes:
        note(f"{len(probes)} of {len(paths)} videos are known from an earlier call")
    cache.parent.mkdir(parents=True, exist_ok=True)
    results = on_videos(partial(look, fast=fast), list(wanted), jobs=jobs, seconds=silent_seconds)
    with about(cache), cache.open("a", encoding="utf-8") as file, Meter(len(paths), label, len(probes)) as meter:
        if file.tell():
            file.write("\n")  # ends a line that a killed call was writing
        for full, result in results:
            path = wanted[full]
            if isinstance(result, Lost):
                # not remembered: a slow disk may have been to blame
                probes[path] = Probe(problem=result.reason)
            else:
                probes[path] = result.probe
                if result.state is not None:
                    file.write(_line(path, fast, result.state, result.probe))
                    file.flush()
            meter.advance()
    return probes


def look(path: str, fast: bool) -> Looked:
    """Probe a file, and tell a file that cannot be read or that changes meanwhile from one with bad content."""
    try:
        before = State.of(path)
        found = probe(path, fast)
        unchanged = State.of(path) == before
    except OSError as error:
        return Looked(None, Probe(problem=f"cannot be read: {error.strerror or error}"))
    if not unchanged:
        return Looked(None, Probe(problem="the file changed while it was read: index again when it is whole"))
    return Looked(before, found)


# --- the memory -----------------------------------------------------------------------------------


def _line(path: str, fast: bool, state: State, found: Probe) -> str:
    record = {**state._asdict(), **FOUND_BY, "path": path, "fast": fast, **found.as_dict()}
    return json.dumps(record) + "\n"


def _known(paths: Collection[str], root: Path, files: Sequence[Path], fast: bool) -> dict[str, Probe]:
    """Remembered results of these paths that still hold; a thorough one rather than a fast one, the last of equals."""
    known: dict[str, tuple[State, Probe]] = {}
    thorough: set[str] = set()
    for record in chain.from_iterable(map(_records, files)):
        path = record["path"]
        if path not in paths or not record.items() >= FOUND_BY.items():
            continue
        if record["fast"] and (not fast or path in thorough):
            continue
        if not record["fast"]:
            thorough.add(path)
        known[path] = State(record["size"], record["mtime"]), Probe(*(record[name] for name in NAMES))
    states = _states(root, list(known))
    return {path: found for (path, (state, found)), now in zip(known.items(), states, strict=True) if state == now}


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file of results; none where there is no such file."""
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # what was being written when a call was killed, or is being written by another part
            if isinstance(record, dict) and record.keys() >= KEYS:  # else another version wrote it
                yield record


def _states(root: Path, paths: Sequence[str]) -> list[State | None]:
    """The present states of files, None for those that are gone."""
    slices = [paths[start : start + 1000] for start in range(0, len(paths), 1000)]
    with ThreadPoolExecutor(STAT_THREADS) as threads:
        return list(chain.from_iterable(threads.map(partial(_stat, str(root)), slices)))


def _stat(root: str, paths: Sequence[str]) -> list[State | None]:
    found: list[State | None] = []
    for path in paths:
        try:
            found.append(State.of(f"{root}/{path}"))
        except OSError:
            found.append(None)
    return found
