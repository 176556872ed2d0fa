"""Videos named in a csv: the user's own, or the ground truth of the embedded dataset."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ssar.errors import UserError

SPLITS = ("train", "test", "")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A video file with what is known about it without opening it."""

    path: str
    name: str
    """Its class."""
    group: str = ""
    split: str = ""
    entry: str = ""
    """The list entry that it stands for: of several files of one entry, one is used."""


@contextmanager
def read_text(path: Path) -> Iterator[IO[str]]:
    """A csv or a list, open for reading. Raises UserError for bytes that are no text in UTF-8, and no csv."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is no list, or not in UTF-8: {error.reason} at byte {error.start}; spreadsheets save one as "
                f"`CSV UTF-8`"
            ) from None
        except csv.Error as error:
            raise UserError(f"{path} is no csv: {error}") from None


def read_table(table: Path, root: Path, label: str) -> list[Candidate]:
    """A csv with the columns path (relative to `root`), `label`, and optionally group and split.

    Raises UserError that lists the mistakes by line.
    """
    if not table.is_file():
        raise UserError(f"no such csv: {table}")
    root = Path(os.path.abspath(root))
    problems: list[str] = []
    candidates: list[Candidate] = []
    seen: dict[str, int] = {}
    with read_text(table) as file:
        reader = csv.DictReader(file)
        absent = [column for column in ("path", label) if column not in (reader.fieldnames or [])]
        if absent:
            raise UserError(f"{table}: no column {', '.join(absent)} in its first line; found {reader.fieldnames}")
        for number, row in enumerate(reader, start=2):
            row = {key: (value or "").strip() for key, value in row.items() if key}
            found, problem = _table_path(row["path"], root)
            if problem is None and not row[label]:
                problem = f"no {label}"
            if problem is None and row.get("split", "") not in SPLITS:
                problem = f"the split is train, test or empty, not `{row['split']}`"
            if problem is None and seen.setdefault(found, number) != number:
                problem = f"{found} stands in line {seen[found]} already"
            if problem is not None:
                problems.append(f"line {number}: {problem}")
                continue
            candidates.append(Candidate(found, row[label], row.get("group", ""), row.get("split", "")))
    if problems:
        shown = [*problems[:20], f"and {len(problems) - 20} more"] if len(problems) > 20 else problems
        raise UserError.of(f"{table} has mistakes:", shown)
    return candidates


def _table_path(text: str, root: Path) -> tuple[str, str | None]:
    """A path of a csv relative to the root, which is absolute, and what is wrong with it."""
    if not text:
        return "", "no path"
    path = os.path.normpath(os.path.join(root, text))
    inside = path.removeprefix(f"{root}{os.sep}" if root != Path(os.sep) else os.sep)
    if inside == path:
        return text, f"{text} is outside {root}; set `root` to a folder that holds all videos"
    return inside.replace(os.sep, "/"), None if os.path.isfile(path) else f"no such file: {path}"
