"""similarity.npz: how much each training video resembles itself over time (TimeBalance §3.2). No torch."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssar.errors import UserError
from ssar.files import atomic


@dataclass(frozen=True)
class Similarity:
    """One line per training video; teachers in the order that they were given, the invariant one first."""

    paths: np.ndarray  # (V,) str, relative to the video root
    projection: np.ndarray  # (V, 2, n, n) float32: C_I and C_D (Eq. 5) of the projections z
    features: np.ndarray  # (V, 2, n, n) float32: the same of the backbones' pooled features
    projection_score: np.ndarray  # (V,) float32: s (Eq. 6) of z, as printed: in [-1, 1]
    features_score: np.ndarray  # (V,) float32: the same of the pooled features
    configs: list[str]  # (2,) canonical JSON of the two runs


def write_scores(path: Path, similarity: Similarity) -> None:
    """Write the file atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **vars(similarity))


def read_similarity(path: Path) -> Similarity:
    """Read the file. Raises UserError when it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays: dict[str, Any] = {name: content[name] for name in Similarity.__dataclass_fields__}
    except FileNotFoundError:
        raise UserError(f"{path}: there are no such similarity scores; compute them first") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and compute the scores anew") from None
    return Similarity(**{**arrays, "configs": arrays["configs"].tolist()})
