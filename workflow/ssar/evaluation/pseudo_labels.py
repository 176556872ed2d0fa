"""pseudo_labels.npz: what a run's networks said of every unlabelled video in the course of the training. No torch.

CMPL plots from it how many labels are confident and right (Figure 2), and how right several networks are where one of
them is confident (Figure 6).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssar.errors import UserError

NEVER = -1
"""Label of a video that no network has been asked about."""


@dataclass(frozen=True)
class Record:
    """The pseudo-labels of V unlabelled videos by N networks at S snapshots."""

    paths: np.ndarray  # (V,) str
    epochs: np.ndarray  # (S,) float64
    networks: tuple[str, ...]  # (N,) e.g. predictor, auxiliary
    label: np.ndarray  # (S, N, V) int16; -1: not asked so far
    confidence: np.ndarray  # (S, N, V) float32: the label's probability
    truth: np.ndarray | None  # (V,) int64; -1: unknown

    def of(self, network: str) -> tuple[np.ndarray, np.ndarray]:
        """A network's labels and confidences, each (S, V). Raises UserError for one that is not on record."""
        if network not in self.networks:
            known = ", ".join(self.networks) or "none"
            raise UserError(f"no pseudo-labels of `{network}` were recorded; the record has those of: {known}")
        index = self.networks.index(network)
        return self.label[:, index], self.confidence[:, index]

    def confident(self, network: str, threshold: float) -> np.ndarray:
        """Whether the network has a label of at least that probability: (S, V) bool."""
        label, confidence = self.of(network)
        return (label != NEVER) & (confidence >= threshold)

    def right(self, network: str) -> np.ndarray:
        """Whether the network's label is the true one: (S, V) bool. Raises UserError where the truth is unknown."""
        if self.truth is None or (self.truth < 0).any():
            raise UserError("the record has no true labels of the unlabelled videos, so none can be called right")
        return np.asarray(self.of(network)[0] == self.truth)


def read_record(path: str | Path) -> Record:
    """Read pseudo_labels.npz. Raises UserError when it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays: dict[str, Any] = {"truth": None, **content}
            return Record(**{**arrays, "networks": tuple(arrays["networks"].tolist())})
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such record; set train.record_epochs above 0 and train the run") from None
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and train the run anew") from None


def correct_ratio(record: Record, network: str, threshold: float) -> np.ndarray:
    """Confident and right pseudo-labels among all unlabelled videos at each snapshot: (S,) (CMPL Figure 2).

    Raises UserError for a network or true labels that are not on record.
    """
    return np.asarray((record.confident(network, threshold) & record.right(network)).mean(axis=1))


def accuracy_on(record: Record, network: str, by: str, threshold: float, selecting: Record | None = None) -> np.ndarray:
    """Accuracy of `network`, whatever its confidence, on the videos that `by` labels confidently: (S,) (CMPL Figure 6).

    `by` is a network of the same run, or of the one that `selecting` is the record of: CMPL asks how right FixMatch
    would be on the samples of its auxiliary network. Videos that `network` has not been asked about do not count; NaN
    where none is left. Raises UserError for what is not on record, and for records of other videos or other epochs.
    """
    chosen = record.confident(by, threshold) if selecting is None else _matched(record, selecting, by, threshold)
    chosen = chosen & (record.of(network)[0] != NEVER)
    counts = chosen.sum(axis=1)
    hits = (chosen & record.right(network)).sum(axis=1)
    return np.divide(hits, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _matched(record: Record, selecting: Record, by: str, threshold: float) -> np.ndarray:
    """The other record's confident videos, in this record's order: (S, V) bool."""
    # the last snapshot of a training that ends between two others is where its last step happens to end
    if record.epochs.shape != selecting.epochs.shape or not np.allclose(record.epochs, selecting.epochs, rtol=0.01):
        epochs = [", ".join(f"{epoch:g}" for epoch in one.epochs) for one in (record, selecting)]
        raise UserError(f"the records are of other epochs ({epochs[0]}; {epochs[1]}): give the runs one length")
    places = {path: place for place, path in enumerate(selecting.paths.tolist())}
    if places.keys() != set(record.paths.tolist()):
        raise UserError("the records are of other unlabelled videos: take runs of one label protocol and draw")
    order = [places[path] for path in record.paths.tolist()]
    return selecting.confident(by, threshold)[:, order]
