"""The account of a training: what finished steps say, as curves, as time spent, as a reason to stop."""

from __future__ import annotations

import math
import time
from typing import Any

from ssar.engine.logs import Curves, Window
from ssar.engine.plan import Plan
from ssar.engine.reading import Values
from ssar.errors import UserError

ADVICE = "try a lower optim.lr, a longer optim.warmup_epochs, optim.clip_norm, or precision 32-true"


class Account:
    """Takes finished steps in, one after the other.

    `clips`: clips of a step over all devices. `every`: steps of a line of the curves. `skips`: how many steps in a row
    may have a gradient that is not finite, because the optimiser skips them and lowers its loss scale (16-mixed).
    """

    def __init__(self, plan: Plan, curves: Curves, clips: int, every: int, skips: int) -> None:
        self.plan, self.curves, self.clips, self.every, self.skips = plan, curves, clips, every, skips
        self.window, self.epoch_loss = Window(), Window()
        self.seconds, self.skipped = 0.0, 0
        self.tick = time.monotonic()

    def start(self) -> None:
        """The clock runs from here."""
        self.tick = time.monotonic()

    def take(self, values: Values) -> None:
        """Note a finished step. Raises UserError where it is not finite: step, term, and the videos concerned."""
        means = values.means()
        self._refuse_non_finite(values)
        if not math.isfinite(values.norm):
            means["gradient_norm"] = math.nan
        now = time.monotonic()
        self.window.add({**means, "seconds": now - self.tick, "waited": values.queued.waited})
        self.epoch_loss.add({"loss": means["loss"]})
        self.seconds, self.tick = self.seconds + now - self.tick, now
        done = values.queued.step + 1
        if done % self.every == 0 or done == self.plan.steps:
            row = {"step": done, "epoch": self.plan.epoch(done), "lr": values.queued.lr, **self.window.take()}
            seconds, waited = row.pop("seconds"), row.pop("waited")
            row |= {"clips_per_second": self.clips / seconds, "data_wait_share": waited / seconds}
            self.curves.add(row)

    def _refuse_non_finite(self, values: Values) -> None:
        found = [
            f"term {name!r} is {value}; its videos: {', '.join(videos)}"
            for name, value, videos in values.non_finite_terms()
        ]
        self.skipped = 0 if math.isfinite(values.norm) else self.skipped + 1
        if not found and self.skipped > self.skips:
            videos = ", ".join(path for paths in values.queued.videos for path in paths)
            found = [f"the gradient's norm is {values.norm}; the step's videos: {videos}"]
        if found:
            raise UserError.of(f"step {values.queued.step + 1} of {self.plan.steps} is not finite; {ADVICE}", found)

    def mean_loss(self) -> float:
        """The mean loss since the last call: of an epoch, if called at the end of each."""
        return self.epoch_loss.take()["loss"]

    def __str__(self) -> str:
        if not self.curves.rows:
            return ""
        return "loss {loss:.3f}, {clips_per_second:.1f} clips/s, {data_wait_share:.0%} waiting".format(
            **self.curves.rows[-1]
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "skipped": self.skipped,
            "window": self.window.state_dict(),
            "epoch_loss": self.epoch_loss.state_dict(),
            "rows": self.curves.rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds, self.skipped = state["seconds"], state["skipped"]
        self.window.load_state_dict(state["window"])
        self.epoch_loss.load_state_dict(state["epoch_loss"])
        self.curves.rows = list(state["rows"])
