"""What must stand below a table so that its numbers cannot be misread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from ssar.data.completeness import Completeness
from ssar.reporting.marks import DAGGER
from ssar.reporting.results import Cell
from ssar.reporting.spec import Column, Row, TableSpec
from ssar.views import Views

AVERAGES = {"logits": "logits", "probs": "probabilities"}


def notes(
    spec: TableSpec,
    columns: Sequence[Column],
    cells: Sequence[Sequence[Cell]],
    substitutes: Mapping[str, str],
    note: str | None,
    views: str,
) -> Iterator[str]:
    """The sentences below a table: scale, protocol, labels, statistics, what is quoted and what is missing."""
    shown = list(chain.from_iterable(cells))
    if note:
        yield note
    yield from _scale(spec, columns, substitutes, told=note is not None)
    if any(cell.published is not None for cell in shown):
        yield f"In parentheses: the published value ({spec.source})."
    yield from _quoted(spec, cells)
    if spec.results == "metrics":
        yield from _statistics(columns, cells)
        yield from _labels(cells)
        yield _protocol(Views.from_slug(views))
    yield from _missing(spec, cells)
    yield from _incomplete(cells)
    # what they say of networks, lengths and labels is true of the declared settings
    yield from (f"In the paper's settings: {text}" for text in spec.notes) if note else spec.notes


def _scale(spec: TableSpec, columns: Sequence[Column], substitutes: Mapping[str, str], told: bool) -> Iterator[str]:
    """What stands for what, and, unless the project's note has `told` it, that the numbers are not comparable."""
    if substitutes:
        pairs = {f"{stands} for {_place(column)}" for column in columns if (stands := substitutes.get(column.key))}
        yield f"Substitutes: {'; '.join(sorted(pairs))}{'' if told else ', not comparable with the published values'}."
    dropped = dict.fromkeys(
        _place(column) for column in spec.columns if column not in columns and column.difference is None
    )
    if dropped:
        yield f"Columns that do not exist at this scale: {', '.join(dropped)}."


def _place(column: Column) -> str:
    return str(column.setting or column.key)


def _quoted(spec: TableSpec, cells: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """Where the values of rows that nothing trains come from, with the references that the paper itself gives."""
    rows = [row for row in spec.rows if row.variant is None]
    if rows:
        cited = ", ".join(dict.fromkeys(f"{method_of(row)} {row.cites}" for row in rows if row.cites))
        yield f"{DAGGER} Quoted from {spec.source}, not trained here{f'; its references: {cited}' if cited else ''}."
    trained = (line for row, line in zip(spec.rows, cells, strict=True) if row.variant is not None)
    if any(cell.quoted for cell in chain.from_iterable(trained)):
        yield f"(…){DAGGER}: from {spec.source}, not measured here."


def method_of(row: Row) -> str:
    """The method's name alone: the first cell of the row's head without venue and asterisk."""
    return re.sub(r"\*?\s*\(.*\)$", "", row.header[0])


def _statistics(columns: Sequence[Column], cells: Sequence[Sequence[Cell]]) -> Iterator[str]:
    counts = {
        cell.summary.n
        for line in cells
        for column, cell in zip(columns, line, strict=True)
        if cell.summary is not None and column.spread
    }
    if counts == {1}:
        yield "One seed each; bold: the best measured value."
    elif counts:
        number = str(max(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        yield f"Mean ± sample standard deviation over {number} seeds; bold: the best measured mean."


def _labels(cells: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """The label protocols of each dataset, with the draws that its runs used."""
    draws: dict[str, dict[str, set[int]]] = {}
    for result in chain.from_iterable(cell.results for row in cells for cell in row):
        config = result.get("config")
        if config is None:  # an architecture
            continue
        protocols = draws.setdefault(config["dataset"], {})
        protocols.setdefault(config["labels"]["protocol"], set()).add(config["labels"].get("draw", 0))
    different = {tuple(sorted(found)) for protocols in draws.values() for found in protocols.values()}
    texts = []
    for dataset, protocols in draws.items():
        named = (f"{name}{_draws(found) if len(different) > 1 else ''}" for name, found in protocols.items())
        texts.append(f"{dataset} {', '.join(named)}")
    if texts:
        yield f"Labels: {'; '.join(texts)}{_draws(different.pop()) if len(different) == 1 else ''}."


def _incomplete(cells: Sequence[Sequence[Cell]]) -> Iterator[str]:
    """The datasets of which listed videos were left out; results of before that was counted say nothing."""
    results = chain.from_iterable(cell.results for line in cells for cell in line)
    found = (Completeness.of(values) for result in results for values in result.get("completeness", ()))
    for dataset in dict.fromkeys(found):
        if dataset.lost:
            yield f"{dataset.dataset}: {dataset.lost:,} of {dataset.listed:,} listed videos are missing or unusable."


def _draws(found: Collection[int]) -> str:
    return f" (draw {', '.join(map(str, sorted(found)))})"


def _protocol(views: Views) -> str:
    crops = "the centre crop" if views.crops == 1 else f"{views.crops} crops"
    if views.scales is not None:
        crops = f"centre crops of {', '.join(f'{scale:g}' for scale in views.scales)} times the short side"
    size = f" of {views.size} × {views.size} pixels" if views.size else " of the training size"
    clips = "1 clip" if views.clips == 1 else f"{views.clips} clips"
    return f"Each test video: {clips}, {crops}{size}, mean of {AVERAGES[views.average]}; last checkpoint."


def _missing(spec: TableSpec, cells: Sequence[Sequence[Cell]]) -> Iterator[str]:
    pairs = [(row.key, cell) for row, line in zip(spec.rows, cells, strict=True) for cell in line]
    if any(cell.wanted and not cell.results for _, cell in pairs):
        yield "n/a: not run."
    if any(cell.undefined for _, cell in pairs):
        yield "undef.: Top-5 among fewer than 6 classes."
    incomplete = dict.fromkeys(f"{row}, {len(cell.results)} of {cell.wanted}" for row, cell in pairs if cell.incomplete)
    if incomplete:
        yield f"Seeds missing: {'; '.join(incomplete)} there."
