"""What a table, a figure or a claim reads: the files of a variant's runs in a setting."""

from __future__ import annotations

from typing import Literal, NamedTuple

Role = Literal["metrics", "predictions", "architecture", "model", "record", "scores", "curves"]
"""metrics.json or predictions.npz under a condition; architecture.json (one, whatever the seeds); model.pt;
pseudo_labels.npz; similarity.npz of the two networks that the run's teachers were pretrained as; curves.csv."""


class Source(NamedTuple):
    """The files of one role, one per seed."""

    variant: str
    setting: str  # dataset.labels
    role: Role
    condition: str = ""  # of metrics and predictions: see ssar.conditions

    @property
    def key(self) -> str:
        """As the name of an entry in JSON."""
        return "|".join(self)

    @classmethod
    def of(cls, key: str) -> Source:
        """From `key`."""
        variant, setting, role, condition = key.split("|")
        return cls(variant, setting, role, condition)  # type: ignore[arg-type]
