"""Reading the field's published lists of videos, in all their formats.

| format | a line | published by |
| --- | --- | --- |
| rawframes | `Class/video frames label` | VideoSSL, MMAction2, LTG |
| videos | `Class/video.avi label` | VideoSSL, MMAction2 |
| svformer | `/any/folder/Class/video.avi label` | SVFormer, TimeSformer |
| ucf | `Class/video.avi label` or `Class/video.avi` | UCF-101 |
| hmdb | a folder of `Class_test_splitN.txt` with `video.avi flag`: 1 is training, 2 is test, 0 neither | HMDB-51 |
| kinetics | csv `label,youtube_id,time_start,time_end,split` | Kinetics |
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from ssar.config import ListFile
from ssar.data.list_files import local_list
from ssar.data.table import read_text
from ssar.errors import UserError

Role = Literal["train", "test"]

RAWFRAMES = re.compile(r"(?P<path>\S.*?)\s+\d+\s+(?P<label>\d+)")
LABELLED = re.compile(r"(?P<path>\S.*?)[\s,]+(?P<label>\d+)")
PLAIN = re.compile(r"(?P<path>[^\s<>][^<>]*?)")  # but no page of a server
PATTERNS = {
    "rawframes": (RAWFRAMES,),
    "videos": (LABELLED,),
    "svformer": (LABELLED,),
    "ucf": (LABELLED, PLAIN),
    "hmdb": (LABELLED,),
}
SHAPES = {
    "rawframes": "`Class/video frames label`",
    "videos": "`Class/video.avi label`",
    "svformer": "`/folder/Class/video.avi label`",
    "ucf": "`Class/video.avi [label]`",
    "hmdb": "`video.avi flag`",
}
HMDB_FILE = re.compile(r"(?P<name>.+)_test_split(?P<fold>\d+)\.txt")
HMDB_FLAG: dict[Role, int] = {"train": 1, "test": 2}
VIDEO_ENDINGS = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp")
"""What lists may write behind a name, whatever a copy's files are: copies are transcoded."""
KINETICS_COLUMNS = {"label", "youtube_id", "time_start", "time_end"}


class Entry(NamedTuple):
    """A line of a list."""

    stem: str
    """Name of the video, without folder and extension."""
    name: str | None
    """Name of the class: the folder of the video, where there is one."""
    label: int | None
    """The class number as the list has it; None where it has none, or where they do not count."""
    where: str
    """File and line, for messages."""
    folder: str = ""
    """The whole folder as the list has it, with slashes."""

    def __str__(self) -> str:
        return f"{self.name}/{self.stem}" if self.name else self.stem


def read_list(item: ListFile, role: Role, extensions: Sequence[str]) -> list[Entry]:
    """The entries of a list; `role` chooses among the videos of a format that holds both training and test.

    Raises UserError that names file and line: a file that is missing or differs from its checksum, a line that does
    not fit the format, a list without videos, or one that names a video with two labels.
    """
    path = local_list(item)
    style = _style(path) if item.format == "auto" else item.format
    if style == "hmdb":
        entries = _hmdb(path, item.fold, role, extensions)
    elif style == "kinetics":
        entries = _kinetics(path)
    else:
        entries = [
            entry(text["path"], text.groupdict().get("label"), where, extensions)
            for where, text in _matches(path, style)
        ]
    if not entries:
        raise UserError(f"{path}: the list names no {'training' if role == 'train' else 'test'} video")
    return _once(entries if item.numbers is True else [entry._replace(label=None) for entry in entries])


def entry(path: str, label: str | None, where: str, extensions: Sequence[str]) -> Entry:
    """An entry of a path as a list spells it, absolute or not, with an extension or without."""
    folder, _, file = path.replace("\\", "/").rpartition("/")
    name = folder.rpartition("/")[2] or None
    return Entry(stem(file, extensions), name, None if label is None else int(label), where, folder)


def stem(file: str, extensions: Sequence[str]) -> str:
    """A file name without its extension, if that is a video's: names may contain other dots."""
    lowered, endings = file.lower(), _endings(tuple(extensions))
    if not lowered.endswith(endings):
        return file
    return next(file[: -len(ending)] for ending in endings if lowered.endswith(ending))


@cache
def _endings(extensions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ending.lower() for ending in (*extensions, *VIDEO_ENDINGS)))


def _lines(path: Path) -> Iterable[tuple[str, str]]:
    """`file, line n` and text of every line that is not blank."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; only the format hmdb has one")
    with read_text(path) as file:
        text = file.read()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _matches(path: Path, style: str) -> Iterable[tuple[str, re.Match[str]]]:
    for where, line in _lines(path):
        found = next((text for pattern in PATTERNS[style] if (text := pattern.fullmatch(line))), None)
        if found is None:
            raise UserError(f"{where}: expected {SHAPES[style]} (format {style}), found `{line[:100]}`")
        yield where, found


def _style(path: Path) -> str:
    """The format of a list, by what most of its lines look like; the odd ones are mistakes then, told by number."""
    if path.is_dir():
        return "hmdb"
    lines = [line for _, line in _lines(path)]
    if lines and set(lines[0].split(",")) >= KINETICS_COLUMNS:
        return "kinetics"
    for style, pattern in (("rawframes", RAWFRAMES), ("videos", LABELLED)):
        if 2 * sum(pattern.fullmatch(line) is not None for line in lines) > len(lines):
            return style
    plain = sum(line.lower().endswith(VIDEO_ENDINGS) or len(line.split()) == 1 for line in lines)
    if lines and 2 * plain <= len(lines):
        raise UserError(f"{path} is no list of videos: most of its lines are neither {', '.join(SHAPES.values())}")
    return "ucf"


def _hmdb(folder: Path, fold: int, role: Role, extensions: Sequence[str]) -> list[Entry]:
    if not folder.is_dir():
        raise UserError(f"{folder}: the format hmdb is a folder of files like brush_hair_test_split1.txt")
    entries = []
    # the published archive has a folder in it; what macOS adds to archives begins with a dot
    for file in sorted(folder.rglob("[!.]*.txt")):
        name = HMDB_FILE.fullmatch(file.name)
        if name is None or int(name["fold"]) != fold:
            continue
        for where, text in _matches(file, "hmdb"):
            if int(text["label"]) not in (0, *HMDB_FLAG.values()):
                raise UserError(f"{where}: the flag is 0, 1 or 2, not {text['label']}")
            if int(text["label"]) == HMDB_FLAG[role]:
                entries.append(Entry(stem(text["path"], extensions), name["name"], None, where, name["name"]))
    return entries


def _kinetics(path: Path) -> list[Entry]:
    """Videos are named `<youtube id>_<start>_<end>` with six digits, classes with underscores for spaces."""
    entries = []
    with read_text(path) as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            where = f"{path}, line {number}"
            try:
                name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
                label = row["label"].strip().replace(" ", "_")
                entries.append(Entry(name, label, None, where, label))
            except (KeyError, TypeError, ValueError, AttributeError):
                wanted = ", ".join(sorted(KINETICS_COLUMNS))
                raise UserError(f"{where}: expected the columns {wanted} (format kinetics), found {row}") from None
    return entries


def _once(entries: Sequence[Entry]) -> list[Entry]:
    """The entries without repetitions."""
    first: dict[tuple[str, str], Entry] = {}
    for item in entries:
        first.setdefault((item.folder, item.stem), item)
    problems = [
        f"{item.where}: {item} has label {item.label} and in {known.where} label {known.label}"
        for item in entries
        if (known := first[item.folder, item.stem]).label != item.label
    ]
    if problems:
        raise UserError.of("a list gives one video two labels:", problems[:10])
    return list(first.values())
