"""metrics.json of one run under one evaluation protocol, from its predictions. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ssar.data.completeness import Completeness
from ssar.errors import UserError
from ssar.evaluation.predictions import read_predictions
from ssar.files import write_json


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each video's label is among its k highest scores: (N, K), (N,) to bool (N,).

    Among equal scores the class of the lower number comes first, so that a constant network is right by chance only.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    return (order[:, :k] == labels[:, None]).any(axis=1)


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts (K, K) int64: true class in rows, predicted one in columns."""
    classes = scores.shape[1]
    predicted = np.argsort(-scores, axis=1, kind="stable")[:, 0]
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def compute(scores: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Percentages over the test videos (N), each counted once.

    top5 is None for fewer than 6 classes, where it says nothing; per_class has None for a class without test videos.
    """
    counts = confusion(scores, labels)
    videos = counts.sum(axis=1)
    return {
        "n": len(labels),
        "top1": 100 * float(hits(scores, labels, 1).mean()),
        "top5": 100 * float(hits(scores, labels, 5).mean()) if len(classes) > 5 else None,
        "per_class": {
            name: 100 * float(counts[index, index] / videos[index]) if videos[index] else None
            for index, name in enumerate(classes)
        },
        "confusion": counts.tolist(),
    }


def write_metrics(predictions: Path, run: str, provenance: Path, completeness: Sequence[Path], out: Path) -> None:
    """Write {run, config, views, model_sha256, n, top1, top5, per_class, confusion, completeness, provenance}.

    `provenance` is the run's run.json; `completeness` tells how complete the datasets are that the run has read, its
    own first. Raises UserError for predictions that are not finite: a network that diverged has no accuracy.
    """
    found = read_predictions(predictions)
    bad = found.paths[~np.isfinite(found.scores).all(axis=1)]
    if len(bad):
        raise UserError(f"{predictions}: {len(bad)} videos have scores that are not finite, the first is {bad[0]}")
    write_json(
        out,
        {
            "run": run,
            "config": json.loads(found.config),
            "views": found.views,
            "model_sha256": found.model_sha256,
            **compute(found.scores, found.labels, found.classes),
            "completeness": [asdict(Completeness.read(path)) for path in completeness],
            "provenance": json.loads(provenance.read_text(encoding="utf-8")),
        },
    )
