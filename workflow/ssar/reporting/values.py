"""How a value looks, whatever the format: published ones as they are printed, n/a for what is missing."""

from __future__ import annotations

from typing import NamedTuple

from ssar.reporting.marks import DAGGER
from ssar.reporting.results import Cell, Value
from ssar.reporting.spec import Column


class Shown(NamedTuple):
    """The parts of a cell's text: what is measured, its spread, what is published. Empty parts are not written."""

    measured: str = ""
    spread: str = ""
    published: str = ""


def number(value: float, decimals: int) -> str:
    """A number in so many decimals; never a negative zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def printed(value: Value, decimals: int) -> str:
    """A published value in the decimals of its table, or in its own where it has more; text as it is."""
    if value is None or isinstance(value, str):
        return value or ""
    own = str(float(value)).partition(".")[2]
    return number(value, max(decimals, len(own) if own != "0" else 0))


def shown(cell: Cell, column: Column, decimals: int, *, trained: bool) -> Shown:
    """What stands in a cell of a column; `decimals` are those of the table's published values.

    A published value that stands alone has a dagger, unless nothing in its row is `trained`: the row has it then.
    """
    published = "" if cell.published is None else f"({printed(cell.published, decimals)})"
    if not cell.wanted:
        return Shown(published=published + DAGGER * trained) if published else Shown(measured="-")
    if cell.summary is not None:
        mean, std, _ = cell.summary
        spread = "" if std is None or not column.spread else number(std / column.unit, column.decimals)
        return Shown(number(mean / column.unit, column.decimals), spread, published)
    if cell.text is not None:
        return Shown(cell.text, published="(same)" if cell.text == cell.published else published)
    return Shown("undef." if cell.undefined else "n/a", published=published)
