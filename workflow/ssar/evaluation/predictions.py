"""predictions.npz: what a run says of every test video. No torch."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssar.errors import UserError
from ssar.files import atomic


@dataclass(frozen=True)
class Predictions:
    """One line per test video, in the split's order."""

    paths: np.ndarray  # (N,) str, relative to the video root
    labels: np.ndarray  # (N,) int64
    scores: np.ndarray  # (N, K) float32: mean over the views of logits or of probabilities, see `views`
    features: np.ndarray  # (N, C) float16: pooled features before the classifier, mean over the views
    classes: list[str]  # (K,) names in label order
    views: str  # slug of the evaluation protocol; its last word is what `scores` average
    config: str  # canonical JSON of the run
    model_sha256: str


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **vars(predictions))


def read_predictions(path: Path) -> Predictions:
    """Read the file. Raises UserError when it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays: dict[str, Any] = {name: content[name] for name in Predictions.__dataclass_fields__}
    except FileNotFoundError:
        raise UserError(f"{path}: there are no such predictions; run the prediction first") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and predict anew") from None
    texts = {name: str(arrays[name]) for name in ("views", "config", "model_sha256")}
    return Predictions(**{**arrays, **texts, "classes": arrays["classes"].tolist()})
