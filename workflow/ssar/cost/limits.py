"""Time limits of cluster jobs from the forecast: results/cost.json, which no training rule reads as an input.

A training that meets its limit saves its state, is queued again and continues. So a limit that is too short costs a
restart, and one that is too long costs hours in the queue: the margins are modest, and limits grow with each attempt.
No torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssar.cost.throughput import How
from ssar.files import write_json

VERSION = 1
MARGIN: dict[How, float] = {"probed": 1.5, "scaled": 2.0, "stated": 2.0}
"""What a forecast is multiplied by, by how its speed is known."""

START = 10
"""Minutes on top: environments, slow file systems, the first batch."""

STEP = 5
"""Limits are whole multiples of so many minutes."""


@dataclass(frozen=True)
class Time:
    """The forecast of one job, on the devices that the forecast assumes."""

    seconds: float
    spread: float  # relative uncertainty
    how: How

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Time:
        """From JSON. Raises KeyError, TypeError or ValueError for anything that is no forecast."""
        seconds, spread, how = float(content["seconds"]), float(content["spread"]), content["how"]
        if not math.isfinite(seconds) or seconds < 0 or how not in MARGIN:
            raise ValueError(f"no forecast: {content}")
        return cls(seconds, spread, how)


@dataclass(frozen=True)
class Limits:
    """How long the trainings and predictions that were missing at the time of the forecast take."""

    device: str
    """The device that was measured, or the speed that was stated."""
    devices: int
    """How many of them one job has."""
    trainings: Mapping[str, Time]
    """By the run's id."""
    predictions: Mapping[str, Mapping[str, Time]]
    """By the run's id and the slug of the views."""

    def write(self, path: str | Path) -> None:
        """Write the file, atomically."""
        write_json(path, {"version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, path: str | Path) -> Limits | None:
        """None where there is no forecast of this version: a time limit must never stop the work."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                return None
            return cls(
                device=str(content["device"]),
                devices=max(1, int(content["devices"])),
                trainings={run: Time.of(item) for run, item in content["trainings"].items()},
                predictions={
                    run: {views: Time.of(item) for views, item in items.items()}
                    for run, items in content["predictions"].items()
                },
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def minutes(
        self, run_id: str, ceiling: int, attempt: int = 1, *, views: str | None = None, devices: int | None = None
    ) -> int:
        """The time limit of a training or, with `views`, of a prediction, in minutes.

        The forecast times its margin plus the start, in whole steps, times the attempt, counted from 1; never above
        `ceiling` times the attempt. Without a forecast it is the ceiling. `devices`: of this job, where it has another
        number of them than the forecast assumes.
        """
        time = self.trainings.get(run_id) if views is None else self.predictions.get(run_id, {}).get(views)
        if time is None:
            return ceiling
        seconds = time.seconds * self.devices / (devices or self.devices)
        wanted = STEP * math.ceil((seconds * MARGIN[time.how] / 60 + START) / STEP)
        return min(wanted, ceiling) * attempt
