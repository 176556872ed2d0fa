"""How a value looks, whatever the format: 1 decimal, published ones with those printed, n/a for what is missing."""

from __future__ import annotations

from typing import NamedTuple

from ssar.reporting.notes import DAGGER
from ssar.reporting.results import Cell, Value


class Shown(NamedTuple):
    """The parts of a cell's text: what is measured, its spread, what is published. Empty parts are not written."""

    measured: str = ""
    spread: str = ""
    published: str = ""


def number(value: Value) -> str:
    """A percentage with 1 decimal; text as it is."""
    return value if isinstance(value, str) else "" if value is None else f"{value:.1f}"


def printed(value: Value) -> str:
    """A published percentage with the decimals that the paper gives it, at least 1."""
    return f"{value:.2f}" if isinstance(value, float) and round(value, 1) != value else number(value)


def shown(cell: Cell) -> Shown:
    """What stands in a cell."""
    published = "" if cell.published is None else f"({printed(cell.published)})"
    if cell.quoted:
        return Shown(published=published + DAGGER)
    if not cell.wanted:
        return Shown(measured="-")
    if cell.summary is not None:
        spread = "" if cell.summary.std is None else number(cell.summary.std)
        return Shown(number(cell.summary.mean), spread, published)
    if cell.text is not None:
        return Shown(cell.text, published="(same)" if cell.text == cell.published else published)
    return Shown("undef." if cell.undefined else "n/a", published=published)
