"""The effects that a paper prints: of a claim's comparisons, from the cells of its table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ssar.errors import UserError
from ssar.reporting.claims.comparisons import Comparison, comparisons
from ssar.reporting.claims.spec import ClaimSpec, Term
from ssar.reporting.spec import TableSpec

if TYPE_CHECKING:
    from ssar.experiments import Paper


class Cell(NamedTuple):
    """Whose value a table prints: a metric of a variant in a setting under a condition."""

    setting: str
    term: Term
    metric: str


def printed(table: TableSpec) -> dict[Cell, set[float | None]]:
    """The values of all cells of a table that runs fill, None for a dash; several where cells contradict each other."""
    rows = {row.key: row for row in table.rows}
    columns = {column.key: (place, column) for place, column in enumerate(table.columns)}
    found: dict[Cell, set[float | None]] = {}
    for row_key, column_key, source in table.cells():
        row, (place, column) = rows[row_key], columns[column_key]
        value = row.published[place] if row.published else None
        cell = Cell(source.setting, Term(source.variant, condition=source.condition), column.metric)
        found.setdefault(cell, set()).add(float(value) if isinstance(value, float | int) else None)
    return found


def published(paper: Paper, claim: ClaimSpec) -> list[float | None]:
    """The printed effect of each comparison: from the claim's table, else from its `published`, else None.

    Figures print no values: None then is no mistake. Raises UserError for what `mistakes` finds in the claim.
    """
    if problems := list(_mistakes(paper, claim)):
        raise UserError.of(f"config/papers/{paper.name}/claims.yaml:", problems)
    cells = {cell: next(iter(values)) for cell, values in _cells(paper, claim).items() if len(values) == 1}
    found: list[float | None] = []
    for place, comparison in enumerate(comparisons(claim)):
        values = {term: cells.get(Cell(comparison.setting, term, claim.measure)) for term in comparison.terms}
        known = {term: value for term, value in values.items() if value is not None}
        if len(known) == len(values):
            found.append(round(float(comparison.effect(known)), 9))
        else:
            found.append(claim.published[place] if claim.published else None)
    return found


def mistakes(paper: Paper) -> list[str]:
    """What is wrong with the tables that a paper's claims name, a line each."""
    return [f"claim `{name}`: {text}" for name, claim in paper.claims.items() for text in _mistakes(paper, claim)]


def _mistakes(paper: Paper, claim: ClaimSpec) -> Iterator[str]:
    if claim.table is None:
        return
    if claim.table not in paper.tables:
        yield f"there is no table `{claim.table}`; tables: {', '.join(paper.tables)}"
        return
    if claim.classes or claim.form == "grows_with":
        yield f"`{claim.table}` prints no effect on classes: give `published` and no `table`"
        return
    cells = _cells(paper, claim)
    for comparison in comparisons(claim):
        yield from _absent(comparison, cells, claim)


def _absent(comparison: Comparison, cells: dict[Cell, set[float | None]], claim: ClaimSpec) -> Iterator[str]:
    for term in comparison.terms:
        values = cells.get(Cell(comparison.setting, term, claim.measure))
        what = f"{claim.measure} of {term} in {comparison.setting}"
        if values is None and not claim.published:
            yield f"`{claim.table}` has no row and column for {what}: name another table, or give `published`"
        if values is not None and len(values) > 1:
            yield f"`{claim.table}` has different values for {what}: give `published` and no `table`"


def _cells(paper: Paper, claim: ClaimSpec) -> dict[Cell, set[float | None]]:
    return printed(paper.tables[claim.table]) if claim.table else {}
