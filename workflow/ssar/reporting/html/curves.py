"""Learning curves, thinned to what a chart can show."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from ssar.errors import UserError

POINTS = 200
"""At most so many points of a series: a thousand runs stay below some 10 MB, and a chart is not much wider."""

AXES = ("step", "epoch")
PANELS = ("loss", "accuracy", "pseudo", "speed", "other")

Curve = dict[str, list[float | None]]
"""Columns of curves.csv; None where nothing was measured."""


def read_curve(path: Path) -> Curve | None:
    """The columns of a curves.csv; None when there is no file. Raises UserError for a value that is no number."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = [name for name in (rows[0] if rows else ()) if name]
        return {name: [_number(row[name]) for row in rows] for name in columns}
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove the run's folder and train it anew") from None


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def thin(curve: Curve, limit: int = POINTS) -> Curve:
    """At most `limit` points: each the mean of as many consecutive lines, at the last one's step and epoch.

    Four significant digits are kept of a value. Lines without a value do not count; a point of such lines alone has
    none.
    """
    lines = len(next(iter(curve.values()), ()))
    size = math.ceil(lines / limit) if lines else 1
    return {
        name: [
            _last(values[start : start + size]) if name in AXES else _mean(values[start : start + size])
            for start in range(0, lines, size)
        ]
        for name, values in curve.items()
    }


def _last(values: Sequence[float | None]) -> float | None:
    value = values[-1]
    return value if value is None else float(f"{value:.8g}")


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(f"{math.fsum(there) / len(there):.4g}") if there else None


def panels(columns: Sequence[str]) -> dict[str, str]:
    """The chart that each column of a curves.csv belongs to.

    The terms of the objective stand between the loss and the norm of its gradient.
    """
    names = list(columns)
    if "loss" in names and "gradient_norm" in names:
        terms = set(names[names.index("loss") : names.index("gradient_norm")])
    else:
        terms = {"loss"}
    return {name: "loss" if name in terms else _panel(name) for name in names if name not in AXES}


def _panel(name: str) -> str:
    if name.startswith("labelled_accuracy"):
        return "accuracy"
    if name == "clips_per_second":
        return "speed"
    # what is compared with the unlabelled videos' classes, which no training sees, and the share that is used
    if name.startswith(("pseudo_", "reliab")) or "accuracy" in name or name.endswith("_agreement"):
        return "pseudo"
    return "other"
