"""What one run did with each video: the outcomes that a claim compares. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssar.config import parse_run
from ssar.errors import UserError
from ssar.evaluation.metrics import hits
from ssar.evaluation.predictions import Predictions, read_predictions
from ssar.evaluation.pseudo_labels import read_record
from ssar.evaluation.scores import read_similarity
from ssar.reporting.claims.spec import TEACHERS, Measure
from ssar.reporting.results import look_up, read_result

NEIGHBOURS = 5
ROWS_AT_ONCE = 1024
"""Videos whose similarities to all others are in memory at once."""

LABELLERS = ("auxiliary", "teacher", "predictor")
"""The network whose pseudo-labels the evaluated one learns from: the first of these that is on record. It is another
one in CMPL (Figure 2), where it is the auxiliary network, and in SVFormer."""


class UnmeasuredError(Exception):
    """Why a comparison cannot be measured here; no mistake."""


@dataclass(frozen=True)
class Outcomes:
    """A value for each of V videos: 100 or 0 for a hit or none, so that a mean is a percentage, or a similarity."""

    paths: np.ndarray  # (V,) str
    values: np.ndarray  # (V,) float64
    labels: np.ndarray | None = None  # (V,) true classes of test videos
    classes: Sequence[str] = ()  # their names


def read_outcomes(path: Path, measure: Measure, teacher: str = "") -> Outcomes:
    """The outcomes of one run.

    Raises UserError for a damaged file and for scores that are not finite, and UnmeasuredError.
    """
    if measure == "labels":
        return _pseudo_labels(path)
    if measure == "similarity":
        return _similarities(path, teacher)
    found = read_predictions(path)
    values = 100.0 * _rights(found, measure, path)
    return Outcomes(found.paths, values, found.labels, tuple(found.classes))


class Reader:
    """`read_outcomes`, each file once: a run serves many claims. Equal paths of many runs are kept once."""

    def __init__(self) -> None:
        self._read: dict[tuple[Path, Measure, str], Outcomes] = {}
        self._paths: dict[bytes, np.ndarray] = {}

    def __call__(self, path: Path, measure: Measure, teacher: str) -> Outcomes:
        key = (path, measure, teacher)
        if key not in self._read:
            found = read_outcomes(*key)
            digest = hashlib.sha256(found.paths.tobytes()).digest()
            self._read[key] = replace(found, paths=self._paths.setdefault(digest, found.paths))
        return self._read[key]


def operations(path: Path) -> float | None:
    """10^9 operations of a clip through the evaluated network, from architecture.json; None when it is not there."""
    result = read_result(path)
    if result is None:
        return None
    value = look_up(result, "gflops", path)
    if not isinstance(value, float | int):
        raise UserError(f"{path}: `gflops` is {value!r}, not a number; remove the file and make it anew")
    return float(value)


def neighbours_right(features: np.ndarray, labels: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Whether most of the k nearest other videos by cosine are of a video's class: (N, C), (N,) to bool (N,).

    A tie between classes goes to the lower number, as in `ssar.reporting.figures.tsne`, and one between videos to the
    first. At most N - 1 neighbours vote.
    """
    features = features.astype(np.float32)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    k = min(k, len(labels) - 1)
    classes = int(labels.max()) + 1
    right = np.zeros(len(labels), bool)
    for start in range(0, len(labels), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(labels)))
        distance = -(features[rows] @ features.T)
        distance[np.arange(len(rows)), rows] = np.inf  # a video is not its own neighbour
        votes = np.zeros((len(rows), classes), int)
        for nearest in np.argsort(distance, axis=1, kind="stable")[:, :k].T:
            votes[np.arange(len(rows)), labels[nearest]] += 1
        right[rows] = votes.argmax(axis=1) == labels[rows]
    return right


def _rights(found: Predictions, measure: Measure, path: Path) -> np.ndarray:
    if measure == "knn":
        values, what = found.features, "features"
    else:
        values, what = found.scores, "scores"
    bad = found.paths[~np.isfinite(values).all(axis=1)]
    if len(bad):
        raise UserError(f"{path}: {len(bad)} videos have {what} that are not finite, the first is {bad[0]}")
    if measure == "knn":
        return neighbours_right(values, found.labels)
    return hits(values, found.labels, {"top1": 1, "top5": 5}[measure])


def _pseudo_labels(path: Path) -> Outcomes:
    """Whether each unlabelled video has a right and confident pseudo-label at the end, by the run's own threshold.

    Raises UnmeasuredError for a record without pseudo-labels, or without the true labels of all videos.
    """
    record = read_record(path)
    networks = [network for network in LABELLERS if network in record.networks]
    if not networks or not len(record.epochs):
        raise UnmeasuredError(f"{path} has no pseudo-labels")
    if record.truth is None or (record.truth < 0).any():
        raise UnmeasuredError(f"{path} does not know the true labels")
    threshold = _threshold(path.with_name("run.json"))
    good = record.confident(networks[0], threshold)[-1] & record.right(networks[0])[-1]
    return Outcomes(record.paths, 100.0 * good)


def _threshold(provenance: Path) -> float:
    """The confidence from which the run of a run.json learned from pseudo-labels."""
    result: dict[str, Any] | None = read_result(provenance)
    if result is None:
        raise UserError(f"{provenance} is not there; it belongs to the pseudo-labels beside it: train the run anew")
    options = parse_run(json.dumps(result["config"])).options
    found = getattr(options, "threshold", None)
    if found is None:
        raise UserError(f"{provenance}: the run has no option `threshold`, so no pseudo-label of it is confident")
    return float(found)


def _similarities(path: Path, teacher: str) -> Outcomes:
    """Mean similarity of two different clips of a video in the projections of one teacher (TimeBalance Eq. 5)."""
    found = read_similarity(path)
    matrices = found.projection[:, TEACHERS.index(teacher)].astype(float)
    clips = matrices.shape[-1]
    apart = matrices.sum(axis=(1, 2)) - np.trace(matrices, axis1=1, axis2=2)
    return Outcomes(found.paths, apart / (clips * (clips - 1)))
