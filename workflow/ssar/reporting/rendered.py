"""A table with everything decided but its format: which columns are shown, their cells, the best ones, the notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssar.errors import UserError
from ssar.reporting.marks import DAGGER, SYMBOLS, lettered, marked
from ssar.reporting.notes import notes
from ssar.reporting.results import Cell, read_cell, subtract
from ssar.reporting.spec import Column, Row, TableSpec
from ssar.reporting.values import Shown, shown

Files = Mapping[tuple[str, str], Sequence[Path]]


@dataclass(frozen=True)
class RenderedTable:
    """A table, ready to be written in any format. The rows of `stubs`, `cells`, `shown` and `best` are the spec's."""

    spec: TableSpec
    caption: str
    columns: tuple[Column, ...]  # those that exist at this scale, their heads completed and marked
    stubs: tuple[tuple[str, ...], ...]  # the cells that name the rows, marked
    cells: tuple[tuple[Cell, ...], ...]
    shown: tuple[tuple[Shown, ...], ...]  # the texts of the cells
    best: tuple[tuple[bool, ...], ...]  # whether a cell is bold
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Around:
    """What a table shows beside its cells; see `ssar.reporting.table`."""

    settings: Mapping[str, str | None]
    note: str | None
    views: str
    remarks: Sequence[str] = ()
    flags: Mapping[str, str] | None = None


def build(spec: TableSpec, files: Files, around: Around) -> RenderedTable:
    """Read the cells and decide what is shown. `files` has (row, column). Raises UserError for a flag that nobody
    explains."""
    columns = [column for column in spec.columns if _exists(spec, column, around.settings)]
    cells = tuple(_cells(spec, files, row, columns) for row in spec.rows)
    substitutes = {
        column.key: stands
        for column in columns
        if (stands := around.settings.get(column.key)) is not None and stands != column.setting
    }
    sentences = around.flags or {}
    flags = spec.model_copy(update={"columns": tuple(columns)}).flagged()  # of what is shown
    if silent := [flag for flag in flags if flag not in sentences]:
        raise UserError(f"flags without a sentence: {', '.join(silent)}; see `ssar.reporting.flags`")
    letters = lettered(flags)
    return RenderedTable(
        spec,
        marked(spec.caption, spec.flags, letters),
        tuple(_headed(spec, column, substitutes, letters) for column in columns),
        tuple(_stub(row, letters) for row in spec.rows),
        cells,
        tuple(
            tuple(
                shown(cell, column, spec.printed_decimals, trained=row.variant is not None)
                for cell, column in zip(line, columns, strict=True)
            )
            for row, line in zip(spec.rows, cells, strict=True)
        ),
        tuple(best(cells, spec, columns)),
        (
            *notes(spec, columns, cells, substitutes, around.note, around.views),
            *same_runs(spec, files),
            *around.remarks,
            *(f"{letter} {sentences[flag]}" for flag, letter in letters.items()),
        ),
    )


def same_runs(spec: TableSpec, files: Files) -> Iterator[str]:
    """A sentence on rows of different variants that are the same runs: a scale may leave no difference between them."""
    rows: dict[tuple[tuple[str, ...], ...], list[Row]] = {}
    for row in spec.rows:
        paths = [tuple(map(str, files.get((row.key, column.key), ()))) for column in spec.columns]
        if spec.results == "metrics" and any(paths):
            rows.setdefault(tuple(paths), []).append(row)
    for same in rows.values():
        if len({row.variant for row in same}) > 1:
            names = ", ".join(" ".join(part for part in row.header if part) for row in same)
            yield f"The same runs at this scale, where nothing tells them apart: {names}."


def _exists(spec: TableSpec, column: Column, settings: Mapping[str, str | None]) -> bool:
    """Whether a column is at this scale: a difference is where both its columns are."""
    return all(settings.get(key, "") is not None for key in (column.difference or (column.key,)))


def _cells(spec: TableSpec, files: Files, row: Row, columns: Sequence[Column]) -> tuple[Cell, ...]:
    """The cells of a row: those that files fill first, then their differences."""
    published = dict(zip((column.key for column in spec.columns), row.published, strict=False))
    found = {
        column.key: read_cell(
            files.get((row.key, column.key), ()), column.metric.replace("{row}", row.key), published.get(column.key)
        )
        for column in columns
        if column.difference is None
    }
    for column in columns:
        if column.difference is not None:
            first, second = column.difference
            metric = f"{first} - {second}"
            found[column.key] = subtract(metric, found[first], found[second], published.get(column.key))
    return tuple(found[column.key] for column in columns)


def _headed(spec: TableSpec, column: Column, substitutes: Mapping[str, str], letters: Mapping[str, str]) -> Column:
    """The column with its flags, and, if any column has a substitute, with a first level of head that names it.

    A table of an architecture is of the network, whatever the dataset.
    """
    header = (*column.header[:-1], marked(column.header[-1], column.flags, letters))
    if substitutes and spec.results == "metrics":
        key = column.difference[0] if column.difference else column.key
        setting = next(other.setting for other in spec.columns if other.key == key)
        header = (f"{substitutes[key]} for {setting}" if key in substitutes else "", *header)
    return column.model_copy(update={"header": header})


def _stub(row: Row, letters: Mapping[str, str]) -> tuple[str, ...]:
    """The row's head: ticks and crosses, and in its first cell the marks of a quoted row and of its flags."""
    first, *rest = (SYMBOLS.get(text, text) for text in row.header)
    return (marked(first + (DAGGER if row.variant is None else ""), row.flags, letters), *rest)


def best(cells: Sequence[Sequence[Cell]], spec: TableSpec, columns: Sequence[Column]) -> list[tuple[bool, ...]]:
    """Which cells hold the best mean of their column, as it is printed: equal numbers are equally good.

    One measured cell alone is not the best of anything.
    """
    flags = [[False] * len(row) for row in cells]
    if spec.best == "none":
        return [tuple(row) for row in flags]
    starts = [index for index, row in enumerate(spec.rows) if spec.best == "section" and row.line_above]
    for start, end in zip([0, *starts], [*starts, len(cells)], strict=True):
        for number, column in enumerate(columns):
            means = {
                row: round(summary.mean / column.unit, column.decimals)
                for row in range(start, end)
                if (summary := cells[row][number].summary) is not None
            }
            if len(means) > 1 and column.best != "none":
                winner = max(means.values()) if column.best == "highest" else min(means.values())
                for row, mean in means.items():
                    flags[row][number] = mean == winner
    return [tuple(row) for row in flags]
