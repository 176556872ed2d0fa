"""What a table or a figure is as data: the models of tables.yaml and figures.yaml under config/papers/<paper>."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import model_validator

from ssar.options import Closed, Positive, option


class Column(Closed):
    """One column of values: a setting and what is measured in it."""

    key: str = option(about="name of the column, unique in its table", pattern=r"^[^|]+$")
    header: tuple[str, ...] = option(about="its head, the outermost level first; equal neighbours are joined")
    setting: str | None = option(None, about="dataset.labels that the values belong to; none: no run fills it")
    metric: str = option("top1", about="key of the run's result file; dots lead into groups, {row} is the row's key")


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

    def cells(self) -> Iterator[tuple[str, str, str, str]]:
        """(row key, column key, variant, setting) of every cell that runs fill."""
        for row in self.rows:
            for column in self.columns:
                if row.variant is not None and column.setting is not None:
                    yield row.key, column.key, row.variant, column.setting

    def wanted(self) -> Iterator[tuple[str, str]]:
        """Every (variant, setting) that the table asks for, once."""
        yield from dict.fromkeys((variant, setting) for _, _, variant, setting in self.cells())


FIGURE_OPTIONS = {
    "tg": {"videos", "intervals", "seed"},
    "gradcam": {"videos", "seed", "moments", "layer"},
    "tsne": {"points", "classes", "perplexity", "neighbours", "seed"},
}
"""The options that each kind of figure reads."""


class FigureSpec(Closed):
    """A figure of a paper."""

    kind: Literal["tg", "gradcam", "tsne"] = option(about="which renderer draws it")
    caption: str = option(about="one sentence: what the figure shows")
    source: str = option(about="the paper's figure")
    setting: str = option(about="dataset.labels that the videos and runs belong to")
    variants: tuple[str, ...] = option(about="variants to compare, the baseline first", min_length=1)
    labels: tuple[str, ...] = option((), about="their names in the figure; empty: the variants' names")
    seed: int = option(0, about="seed of every random choice", ge=0)
    videos: Positive = option(3, about="tg, gradcam: how many test videos, drawn from different classes")
    intervals: tuple[Positive, ...] = option((1, 7), about="tg: intervals n of the gradients, in this order")
    moments: Positive = option(4, about="gradcam: clips of each video, uniform over its length")
    layer: str = option("layer4", about="gradcam: module of the network whose activations are explained")
    points: Positive = option(4000, about="tsne: at most so many test videos, drawn at random")
    classes: Positive = option(20, about="tsne: at most so many classes are coloured, drawn at random; others are grey")
    perplexity: float = option(30.0, about="tsne: perplexity; less where there are few videos", gt=0)
    neighbours: Positive = option(5, about="tsne: k of the leave-one-out k-NN accuracy below each panel")

    @model_validator(mode="after")
    def _consistent(self) -> FigureSpec:
        problems = []
        if len(self.labels) not in (0, len(self.variants)):
            problems.append(f"{len(self.labels)} labels for {len(self.variants)} variants")
        foreign = set.union(*FIGURE_OPTIONS.values()) - FIGURE_OPTIONS[self.kind]
        problems += [
            f"`{name}` means nothing to a figure of kind {self.kind}"
            for name in sorted(foreign)
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def wanted(self) -> Iterator[tuple[str, str]]:
        """Every (variant, setting) that the figure asks for."""
        for variant in self.variants:
            yield variant, self.setting

    @property
    def names(self) -> dict[str, str]:
        """What the figure calls each variant."""
        return dict(zip(self.variants, self.labels or self.variants, strict=True))


def _twice(keys: Sequence[str]) -> list[str]:
    return sorted({key for key in keys if keys.count(key) > 1})
