"""A table with everything decided but its format: which columns are shown, their cells, the best ones, the notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssar.reporting.notes import notes
from ssar.reporting.results import Cell, read_cell
from ssar.reporting.spec import Column, Row, TableSpec


@dataclass(frozen=True)
class RenderedTable:
    """A table, ready to be written in any format. The rows of `cells` and `best` are those of `spec`."""

    spec: TableSpec
    columns: tuple[Column, ...]  # those that exist at this scale, their heads completed
    cells: tuple[tuple[Cell, ...], ...]
    best: tuple[tuple[bool, ...], ...]  # whether a cell is bold
    notes: tuple[str, ...]


def build(
    spec: TableSpec,
    files: Mapping[tuple[str, str], Sequence[Path]],
    settings: Mapping[str, str | None],
    note: str | None,
    views: str,
) -> RenderedTable:
    """Read the cells and decide what is shown. `files` has (row, column); for the rest see `ssar.reporting.table`."""
    columns = [column for column in spec.columns if settings.get(column.key, "") is not None]
    cells = tuple(tuple(_cell(spec, files, row, column) for column in columns) for row in spec.rows)
    substitutes = {
        column.key: stands
        for column in columns
        if (stands := settings.get(column.key)) is not None and stands != column.setting
    }
    return RenderedTable(
        spec,
        # an architecture's columns are of the network, whatever the dataset
        tuple(_headed(column, substitutes if spec.results == "metrics" else {}) for column in columns),
        cells,
        tuple(best(cells, spec)),
        tuple(notes(spec, columns, cells, substitutes, note, views)),
    )


def _cell(spec: TableSpec, files: Mapping[tuple[str, str], Sequence[Path]], row: Row, column: Column) -> Cell:
    published = row.published[spec.columns.index(column)] if row.published else None
    metric = column.metric.replace("{row}", row.key)
    return read_cell(files.get((row.key, column.key), ()), metric, published)


def _headed(column: Column, substitutes: Mapping[str, str]) -> Column:
    """The column with a first level of head that names what stands for its setting, if any column has a substitute."""
    if not substitutes:
        return column
    first = f"{substitutes[column.key]} for {column.setting}" if column.key in substitutes else ""
    return column.model_copy(update={"header": (first, *column.header)})


def best(cells: Sequence[Sequence[Cell]], spec: TableSpec) -> list[tuple[bool, ...]]:
    """Which cells hold the highest mean of their column; one measured cell alone is not the best of anything."""
    flags = [[False] * len(row) for row in cells]
    if spec.best == "none":
        return [tuple(row) for row in flags]
    starts = [index for index, row in enumerate(spec.rows) if spec.best == "section" and row.line_above]
    for start, end in zip([0, *starts], [*starts, len(cells)], strict=True):
        for column in range(len(flags[0])):
            means = {row: s.mean for row in range(start, end) if (s := cells[row][column].summary) is not None}
            for row, mean in means.items():
                flags[row][column] = len(means) > 1 and mean == max(means.values())
    return [tuple(row) for row in flags]
