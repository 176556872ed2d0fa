"""A table as Markdown."""

from __future__ import annotations

import re

from ssar.reporting.rendered import RenderedTable
from ssar.reporting.values import Shown


def markdown(table: RenderedTable) -> str:
    """Caption, one table with a single line of head, and the notes as a list."""
    stands, headers = _heads(table)
    align = ["---"] * len(table.spec.stub) + ["---:"] * len(table.columns)
    lines = [[_escape(text) for text in (*table.spec.stub, *headers)], align]
    for stub, texts, best in zip(table.stubs, table.shown, table.best, strict=True):
        lines.append([*map(_escape, stub), *(_cell(parts, bold) for parts, bold in zip(texts, best, strict=True))])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- {_escape(note)}" for note in table.notes)
    return f"**{table.caption}**{stands}\n\n{body}\n\n{notes}\n"


def _heads(table: RenderedTable) -> tuple[str, list[str]]:
    """What stands for the one setting of the table, for its caption, and the columns' heads, their levels in one."""
    headers = [column.header for column in table.columns]
    substitutes = {first for first, *rest in headers if len(rest) == len(table.spec.columns[0].header)} - {""}
    if len(substitutes) == 1:
        headers = [header[1:] for header in headers]
    stands = f" {substitutes.pop()}." if len(substitutes) == 1 else ""
    return stands, [" ".join(part for part in header if part) for header in headers]


def _cell(parts: Shown, bold: bool) -> str:
    measured = f"{parts.measured} ± {parts.spread}" if parts.spread else parts.measured
    return " ".join(part for part in (f"**{measured}**" if bold else measured, parts.published) if part)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: no emphasis between two asterisks, nothing struck out between two tildes."""
    return re.sub(r"([|*~])", r"\\\1", text)
