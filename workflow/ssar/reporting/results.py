"""Reading what the runs left: one result file per seed, and what one cell of a table makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ssar.errors import UserError
from ssar.reporting.seeds import Summary, summarise

Value = float | str | None


def read_result(path: Path) -> dict[str, Any] | None:
    """A run's metrics.json or architecture.json; None when it is not there. Raises UserError for a damaged file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and make it anew") from None
    return content


def look_up(result: dict[str, Any], metric: str, path: Path) -> Value:
    """The value of a metric, a key whose dots lead into groups; None for a class that the dataset does not have.

    Raises UserError for a metric that is not there.
    """
    group, _, name = metric.partition(".")
    if group == "per_class" and name not in result.get(group, {name: None}):
        return None
    value: Any = result
    for part in metric.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(f"{path} has no metric `{metric}`; it has {', '.join(sorted(result))}")
        value = value[part]
    if not isinstance(value, float | int | str | None):
        raise UserError(f"{path}: `{metric}` is a group, a table shows one value")
    return value


@dataclass(frozen=True)
class Cell:
    """One cell: what the seeds measured, and what the paper printed.

    `wanted` counts the seeds that the grid has for it: 0 for a row that is only quoted.
    """

    metric: str
    published: Value = None
    wanted: int = 0
    values: tuple[Value, ...] = ()
    results: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @cached_property
    def summary(self) -> Summary | None:
        """Over the seeds that have the metric as a number."""
        return summarise([value for value in self.values if isinstance(value, float | int)])

    @property
    def text(self) -> str | None:
        """The value of a cell of text; the seeds' differing values are all named."""
        found = dict.fromkeys(value for value in self.values if isinstance(value, str))
        return " or ".join(found) or None

    @property
    def quoted(self) -> bool:
        """Whether nothing measures this cell and the paper has a value."""
        return not self.wanted and self.published is not None

    @property
    def incomplete(self) -> bool:
        """Whether some but not all seeds are there."""
        return 0 < len(self.results) < self.wanted

    @property
    def undefined(self) -> bool:
        """Whether runs are there, but none of them has the metric."""
        return bool(self.results) and all(value is None for value in self.values)


def read_cell(paths: Sequence[Path], metric: str, published: Value) -> Cell:
    """The cell of the seeds' result files, missing ones left out."""
    found = [(path, result) for path in paths if (result := read_result(path)) is not None]
    return Cell(
        metric,
        published,
        wanted=len(paths),
        values=tuple(look_up(result, metric, path) for path, result in found),
        results=tuple(result for _, result in found),
    )


def subtract(metric: str, first: Cell, second: Cell, published: Value) -> Cell:
    """First minus second, run by run, named `metric`; a run that lacks either is missing.

    The deviation over the seeds is that of the differences.
    """
    others = dict(zip((result["run"] for result in second.results), second.values, strict=True))
    pairs = [
        (value, others[result["run"]], result)
        for value, result in zip(first.values, first.results, strict=True)
        if result["run"] in others
    ]
    return Cell(
        metric,
        published,
        wanted=max(first.wanted, second.wanted),
        values=tuple(_minus(value, other) for value, other, _ in pairs),
        results=tuple(result for *_, result in pairs),
    )


def _minus(value: Value, other: Value) -> Value:
    """None where either is not a number: Top-5 among few classes."""
    return value - other if isinstance(value, float | int) and isinstance(other, float | int) else None
