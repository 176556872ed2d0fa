"""A table as Markdown."""

from __future__ import annotations

from ssar.reporting.rendered import RenderedTable
from ssar.reporting.results import Cell
from ssar.reporting.values import shown

MARKS = {"yes": "✓", "no": "✗"}


def markdown(table: RenderedTable) -> str:
    """Caption, one table with a single line of head, and the notes as a list."""
    head = [*table.spec.stub, *(" ".join(part for part in column.header if part) for column in table.columns)]
    align = ["---"] * len(table.spec.stub) + ["---:"] * len(table.columns)
    lines = [head, align]
    for row, cells, best in zip(table.spec.rows, table.cells, table.best, strict=True):
        stub = [MARKS.get(text, text) for text in row.header]
        lines.append([*stub, *(_cell(cell, bold) for cell, bold in zip(cells, best, strict=True))])
    body = "\n".join(f"| {' | '.join(_escape(text) for text in line)} |" for line in lines)
    notes = "\n".join(f"- {note}" for note in table.notes)
    return f"**{table.spec.caption}**\n\n{body}\n\n{notes}\n"


def _cell(cell: Cell, bold: bool) -> str:
    parts = shown(cell)
    measured = f"{parts.measured} ± {parts.spread}" if parts.spread else parts.measured
    return " ".join(part for part in (f"**{measured}**" if bold else measured, parts.published) if part)


def _escape(text: str) -> str:
    return text.replace("|", r"\|")
