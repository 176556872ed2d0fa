"""What a table is as data: the models of config/papers/<paper>/tables.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import model_validator

from ssar.options import Closed, option
from ssar.reporting.sources import Source


class Column(Closed):
    """One column of values: a setting and what is measured in it."""

    key: str = option(about="name of the column, unique in its table", pattern=r"^[^|]+$")
    header: tuple[str, ...] = option(about="its head, the outermost level first; equal neighbours are joined")
    setting: str | None = option(None, about="dataset.labels that the values belong to; none: no run fills it")
    metric: str = option("top1", about="key of the run's result file; dots lead into groups, {row} is the row's key")
    condition: str = option(
        "", about="what the test changes: a corruption, a re-sampling, `tg`, `training`, joined by +"
    )


class Row(Closed):
    """One row: a variant of the paper, or a method that is only quoted."""

    key: str = option(about="name of the row, unique in its table", pattern=r"^[^|]+$")
    header: tuple[str, ...] = option(about="its cells in the stub columns; yes and no become ticks and crosses")
    variant: str | None = option(None, about="name in experiments.yaml; none: published values only")
    published: tuple[float | str | None, ...] = option(
        (), about="value in each column as printed; none where the paper has a dash; empty: the paper has no such row"
    )
    line_above: bool = option(False, about="a rule above this row, which begins a new section")


class TableSpec(Closed):
    """A table of a paper."""

    caption: str = option(about="one sentence: what the table shows")
    source: str = option(about="where the published values stand")
    results: Literal["metrics", "architecture"] = option(
        "metrics", about="the file of each run that the cells read: metrics.json or architecture.json"
    )
    stub: tuple[str, ...] = option(about="heads of the columns that name the rows")
    columns: tuple[Column, ...] = option(about="the columns of values", min_length=1)
    rows: tuple[Row, ...] = option(about="the rows", min_length=1)
    best: Literal["table", "section", "none"] = option(
        "table", about="where the best measured value of a column is bold: once, in each section, nowhere"
    )
    notes: tuple[str, ...] = option((), about="footnotes that hold at every scale")

    @model_validator(mode="after")
    def _rectangular(self) -> TableSpec:
        problems = [f"{kind} `{key}` is declared twice" for kind, key in self._repeated()]
        depth = len(self.columns[0].header)
        problems += [
            f"column `{column.key}`: {len(column.header)} levels of head, the first column has {depth}"
            for column in self.columns
            if len(column.header) != depth
        ]
        for row in self.rows:
            if len(row.header) != len(self.stub):
                problems.append(f"row `{row.key}`: {len(row.header)} stub cells for {len(self.stub)} stub columns")
            if len(row.published) not in (0, len(self.columns)):
                problems.append(f"row `{row.key}`: {len(row.published)} values for {len(self.columns)} columns")
            if row.variant is None and not row.published:
                problems.append(f"row `{row.key}`: neither a variant nor published values")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _repeated(self) -> Iterator[tuple[str, str]]:
        for kind, items in (("column", self.columns), ("row", self.rows)):
            yield from ((kind, key) for key in _twice([item.key for item in items]))

    def cells(self) -> Iterator[tuple[str, str, Source]]:
        """(row key, column key, source) of every cell that runs fill."""
        for row in self.rows:
            for column in self.columns:
                if row.variant is not None and column.setting is not None:
                    yield row.key, column.key, Source(row.variant, column.setting, self.results, column.condition)

    def sources(self) -> Iterator[Source]:
        """Everything that the table reads, once."""
        yield from dict.fromkeys(source for _, _, source in self.cells())


def _twice(keys: Sequence[str]) -> list[str]:
    return sorted({key for key in keys if keys.count(key) > 1})
