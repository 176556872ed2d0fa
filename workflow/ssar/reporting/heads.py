"""The head of a table: levels of labels over the columns, equal neighbours under one parent joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ssar.reporting.spec import Column


class Span(NamedTuple):
    """A label over some neighbouring columns."""

    label: str
    width: int


def levels(columns: Sequence[Column]) -> list[list[Span]]:
    """The spans of each level, the outermost first. The innermost level is never joined."""
    if not columns:
        return []
    depth = len(columns[0].header)
    result = []
    for level in range(depth):
        spans: list[Span] = []
        for index, column in enumerate(columns):
            parents = column.header[: level + 1]
            if level < depth - 1 and index and columns[index - 1].header[: level + 1] == parents:
                spans[-1] = spans[-1]._replace(width=spans[-1].width + 1)
            else:
                spans.append(Span(column.header[level], 1))
        result.append(spans)
    return result
