"""Curves of a training: a line per window of steps, as csv and as TensorBoard events."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssar.files import atomic

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Window:
    """Means of named values over the steps since the last line; a NaN (a share of nothing) does not count."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.sums.setdefault(name, 0.0)
            self.counts.setdefault(name, 0)
            if not math.isnan(value):
                self.sums[name] += value
                self.counts[name] += 1

    def take(self) -> dict[str, float]:
        """The means, NaN where nothing counted; the window starts anew."""
        means = {name: self.sums[name] / n if n else math.nan for name, n in self.counts.items()}
        self.__init__()  # type: ignore[misc]
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])


class Curves:
    """The lines so far. TensorBoard's events are written as they come, the csv at the end."""

    def __init__(self, events: Path | None) -> None:
        self.rows: list[dict[str, float]] = []
        self.events = events
        self._writer: SummaryWriter | None = None

    def add(self, row: dict[str, float]) -> None:
        """One line; `step` names it. Processes without an events folder keep the line only."""
        self.rows.append(row)
        if self.events is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # events of a killed attempt that lie after the checkpoint are hidden
            self._writer = SummaryWriter(str(self.events), purge_step=int(row["step"]))
        for name, value in row.items():
            if name != "step" and not math.isnan(value):
                self._writer.add_scalar(name, value, int(row["step"]))

    def write(self, path: Path) -> None:
        """All lines as csv; the columns are those that any line has, an absent or undefined value is empty."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic(path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in self.rows:
                writer.writerow({name: "" if math.isnan(value) else value for name, value in row.items()})

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
