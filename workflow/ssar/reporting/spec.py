"""What a table is as data: the models of config/papers/<paper>/tables.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import model_validator

from ssar.conditions import Condition
from ssar.errors import UserError
from ssar.options import Closed, option
from ssar.reporting.sources import Source

Results = Literal["metrics", "architecture"]


class Column(Closed):
    """One column of values: a setting and what is measured in it."""

    key: str = option(about="name of the column, unique in its table", pattern=r"^[^|]+$")
    header: tuple[str, ...] = option(about="its head, the outermost level first; equal neighbours are joined")
    setting: str | None = option(None, about="dataset.labels that the values belong to; none: no run fills it")
    metric: str = option("top1", about="key of the run's result file; dots lead into groups, {row} is the row's key")
    condition: str = option(
        "", about="what the test changes: a corruption, a re-sampling, `tg`, `training`, joined by +"
    )
    difference: tuple[str, str] | None = option(
        None, about="keys of two columns: the first minus the second, seed by seed; such a column has no setting"
    )
    results: Results | None = option(None, about="the file of each run that the column reads; none: the table's")
    best: Literal["highest", "lowest", "none"] = option("highest", about="which measured mean is bold")
    spread: bool = option(True, about="whether the deviation over the seeds is shown; no for costs, which seeds share")
    unit: float = option(1.0, about="what measured numbers are divided by, e.g. 1e6 for millions", gt=0)
    decimals: int = option(1, about="decimals of the measured numbers", ge=0)
    flags: tuple[str, ...] = option((), about="ids in docs/fidelity/<paper>.md, section Impossible as printed")


class Row(Closed):
    """One row: a variant of the paper, or a method that is only quoted."""

    key: str = option(about="name of the row, unique in its table", pattern=r"^[^|]+$")
    header: tuple[str, ...] = option(about="its cells in the stub columns; yes and no become ticks and crosses")
    variant: str | None = option(None, about="name in experiments.yaml; none: published values only")
    condition: str = option("", about="what the test changes in all columns, e.g. `tg`; added to the columns' own")
    published: tuple[float | str | None, ...] = option(
        (), about="value in each column as printed; none where the paper has a dash; empty: the paper has no such row"
    )
    cites: str | None = option(None, about="the paper's own reference for the row, as it prints it, e.g. `[46]`")
    identity: str | None = option(
        None,
        about="the method that the row stands for in whatever paper: method/backbone, or method/backbone/remark",
        pattern=r"^[^/]+/[^/]+(/[^/]+)?$",
    )
    line_above: bool = option(False, about="a rule above this row, which begins a new section")
    flags: tuple[str, ...] = option((), about="ids in docs/fidelity/<paper>.md, section Impossible as printed")


class TableSpec(Closed):
    """A table of a paper."""

    caption: str = option(about="one sentence: what the table shows")
    source: str = option(about="where the published values stand")
    results: Results = option(
        "metrics", about="the file of each run that the cells read: metrics.json or architecture.json"
    )
    stub: tuple[str, ...] = option(about="heads of the columns that name the rows")
    columns: tuple[Column, ...] = option(about="the columns of values", min_length=1)
    rows: tuple[Row, ...] = option(about="the rows", min_length=1)
    best: Literal["table", "section", "none"] = option(
        "table", about="where the best measured value of a column is bold: once, in each section, nowhere"
    )
    printed_decimals: int = option(1, about="decimals of the published values; one that has more keeps them", ge=0)
    notes: tuple[str, ...] = option((), about="footnotes that hold at every scale")
    flags: tuple[str, ...] = option((), about="ids in docs/fidelity/<paper>.md, section Impossible as printed")

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
        problems += [*self._false_differences(), *self._false_conditions()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _repeated(self) -> Iterator[tuple[str, str]]:
        for kind, items in (("column", self.columns), ("row", self.rows)):
            yield from ((kind, key) for key in _twice([item.key for item in items]))

    def _false_differences(self) -> Iterator[str]:
        measured = {column.key for column in self.columns if column.difference is None}
        for column in self.columns:
            if column.difference is None:
                continue
            if unknown := [key for key in column.difference if key not in measured]:
                yield f"column `{column.key}`: difference of {', '.join(unknown)}, which the table does not measure"
            if column.setting is not None or column.condition:
                yield f"column `{column.key}`: a difference has no setting and no condition of its own"

    def _false_conditions(self) -> Iterator[str]:
        for row in self.rows:
            if row.condition and row.variant is None:
                yield f"row `{row.key}`: a condition without a variant that could be tested under it"
            for column in self.columns:
                try:
                    condition_of(row, column)
                except UserError as error:
                    yield f"row `{row.key}`, column `{column.key}`: {error}"

    def cells(self) -> Iterator[tuple[str, str, Source]]:
        """(row key, column key, source) of every cell that runs fill; differences of columns are none of them."""
        for row in self.rows:
            for column in self.columns:
                if row.variant is not None and column.setting is not None:
                    results = column.results or self.results
                    # a network's sizes and costs are the same whatever the test
                    condition = condition_of(row, column) if results == "metrics" else ""
                    yield row.key, column.key, Source(row.variant, column.setting, results, condition)

    def sources(self) -> Iterator[Source]:
        """Everything that the table reads, once."""
        yield from dict.fromkeys(source for _, _, source in self.cells())

    def flagged(self) -> list[str]:
        """The ids of all flags, once, in the order of their marks: the caption's, the columns', the rows'."""
        items: tuple[TableSpec | Column | Row, ...] = (self, *self.columns, *self.rows)
        return list(dict.fromkeys(flag for item in items for flag in item.flags))


def condition_of(row: Row, column: Column) -> str:
    """The row's and the column's conditions as one, in its canonical form. Raises UserError for an impossible one."""
    return Condition.parse("+".join(part for part in (row.condition, column.condition) if part)).slug


def _twice(keys: Sequence[str]) -> list[str]:
    return sorted({key for key in keys if keys.count(key) > 1})
