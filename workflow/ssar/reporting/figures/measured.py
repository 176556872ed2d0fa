"""What figures read of metrics.json, one value or array per seed, and its spread over the seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from ssar.config import RunConfig, parse_run
from ssar.errors import UserError
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.results import look_up, read_result
from ssar.reporting.seeds import summarise


def read_metrics(path: Path) -> dict[str, Any]:
    """A run's metrics.json. Raises UserError when it is missing or damaged."""
    result = read_result(path)
    if result is None:
        raise UserError(f"{path}: there are no such metrics; evaluate the run first")
    return result


def top1(inputs: FigureInputs, variant: str, condition: str = "") -> list[float]:
    """Top-1 accuracy in percent, one per seed. Raises UserError for files that do not have it."""
    values = []
    for path in inputs.seeds(variant, "metrics", condition):
        value = look_up(read_metrics(path), "top1", path)
        if not isinstance(value, float | int):
            raise UserError(f"{path}: `top1` is no number: compute the metrics anew")
        values.append(value)
    return values


def run_config(path: Path) -> RunConfig:
    """The settings of the run that a metrics.json is of. Raises UserError when it does not have them."""
    try:
        return parse_run(json.dumps(read_metrics(path)["config"]))
    except (KeyError, ValidationError, UserError) as error:
        raise UserError(f"{path} does not have its run's settings ({error}): evaluate the run anew") from None


class ClassAccuracy(NamedTuple):
    """Accuracy of every class in percent."""

    names: list[str]
    values: np.ndarray  # (seeds, K) float64; NaN for a class without test videos


def class_accuracy(inputs: FigureInputs, variant: str) -> ClassAccuracy:
    """Accuracy per class, one line per seed. Raises UserError for seeds of other classes."""
    names: list[str] = []
    lines = []
    for path in inputs.seeds(variant, "metrics"):
        found = read_metrics(path).get("per_class")
        if not isinstance(found, dict) or not found:
            raise UserError(f"{path} has no accuracy per class: compute the metrics anew")
        names = names or list(found)
        if list(found) != names:
            raise UserError(f"{path} is of other classes than the seeds before it: evaluate the runs on one dataset")
        lines.append([np.nan if value is None else value for value in found.values()])
    return ClassAccuracy(names, np.array(lines, dtype=float))


def of_same_classes(inputs: FigureInputs, *variants: str) -> list[ClassAccuracy]:
    """The accuracies of several variants, which can be subtracted. Raises UserError where they cannot."""
    found = [class_accuracy(inputs, variant) for variant in variants]
    for variant, one in zip(variants, found, strict=True):
        if one.names != found[0].names or one.values.shape != found[0].values.shape:
            raise UserError(f"variants {variants[0]} and {variant} differ in their classes or in their number of seeds")
    return found


def over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation of each column: (seeds, N), NaN left out, to (N,) and (N,).

    The mean of no value is NaN, and so is the deviation of fewer than two.
    """
    summaries = [summarise(column[np.isfinite(column)].tolist()) for column in values.T]
    means = [np.nan if summary is None else summary.mean for summary in summaries]
    stds = [np.nan if summary is None or summary.std is None else summary.std for summary in summaries]
    return np.array(means), np.array(stds)


def spread(seeds: int) -> str:
    """What a mark and its error bar or band are."""
    return f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "1 seed"
