"""A rendered table as the page shows it: each cell with its runs and its difference from the published value."""

from __future__ import annotations

from typing import Any

from ssar.grid import Grid
from ssar.reporting.heads import levels
from ssar.reporting.rendered import RenderedTable
from ssar.reporting.results import Cell
from ssar.reporting.spec import Column, Row, TableSpec
from ssar.reporting.values import Shown

FULL_COLOUR = 10.0
"""Points of difference from which on the colour does not deepen."""


def page_table(made: RenderedTable, grid: Grid, paper: str) -> dict[str, Any]:
    """Head, rows with their cells, notes and how much of it is measured."""
    rows = [
        {
            "stub": stub,
            "line": row.line_above,
            "cells": [
                page_cell(cell, parts, column, best) | _runs(grid, paper, _source(made.spec, row, column), cell)
                for column, cell, parts, best in zip(made.columns, cells, texts, flags, strict=True)
            ],
        }
        for row, stub, cells, texts, flags in zip(
            made.spec.rows, made.stubs, made.cells, made.shown, made.best, strict=True
        )
    ]
    wanted = [cell for line in made.cells for cell in line if cell.wanted]
    return {
        "caption": made.caption,
        "source": made.spec.source,
        "stub": made.spec.stub,
        "levels": levels(made.columns),
        "names": [" ".join(part for part in column.header if part) for column in made.columns],
        "rows": rows,
        "notes": made.notes,
        "wanted": len(wanted),
        "measured": sum(bool(cell.results) for cell in wanted),
    }


def page_cell(cell: Cell, parts: Shown, column: Column, best: bool) -> dict[str, Any]:
    """The texts of a cell; `sort` is empty where there is no number, `difference` None where two are not there.

    `strength`, from -1 to 1, is the colour of a difference in points of percent; other quantities have none.
    """
    missing = bool(cell.wanted and not cell.results)
    apart = difference(cell, column)
    points = column.unit == 1 and column.spread
    return {
        "measured": "not run" if missing else parts.measured,
        "spread": parts.spread,
        "published": parts.published,
        "best": best,
        "missing": missing,
        "seeds": f"{len(cell.results)} of {cell.wanted} seeds" if cell.incomplete else "",
        "sort": cell.summary.mean if cell.summary else "",
        "text": cell.text is not None,
        "difference": None if apart is None else signed(apart, column.decimals),
        "strength": round(max(-1.0, min(1.0, apart / FULL_COLOUR)), 3) if apart is not None and points else 0.0,
    }


def difference(cell: Cell, column: Column) -> float | None:
    """Measured mean minus published value, in the column's unit; None unless both are numbers."""
    if cell.summary is None or not isinstance(cell.published, float | int):
        return None
    return cell.summary.mean / column.unit - cell.published


def signed(value: float, decimals: int) -> str:
    """With its sign, a true minus; what rounds to nothing has none."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def _source(spec: TableSpec, row: Row, column: Column) -> tuple[str, str] | None:
    """The variant and the setting of a cell, for a difference of columns those of the first; None without runs."""
    key = column.difference[0] if column.difference else column.key
    setting = next(other.setting for other in spec.columns if other.key == key)
    return None if row.variant is None or setting is None else (row.variant, setting)


def _runs(grid: Grid, paper: str, source: tuple[str, str] | None, cell: Cell) -> dict[str, Any]:
    """The runs of a cell's seeds, missing ones too, and the value of each, in the unit of its file."""
    runs = [run.id for run in grid.select(paper, *source)][: cell.wanted] if source else []
    # an architecture does not name its run: it has no seeds
    named = {result.get("run", runs[0]): value for result, value in zip(cell.results, cell.values, strict=True)}
    return {"runs": runs, "by_run": [named.get(run) for run in runs]}
