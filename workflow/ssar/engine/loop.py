"""The training loop: optimisation, logging and resuming. Equations are the method's, decoding the loader's.

A step is a function of the state before it and of its number alone: its data comes from (seed, step), and so does
the global random state, which is set anew at every step. A run that was killed and continues from a checkpoint
therefore repeats what it would have done, dropout included, and there is no random state to save.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ssar.config import RunConfig
from ssar.engine import optim
from ssar.engine.averaging import exponential_average
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt, leave
from ssar.engine.logs import Curves, Window
from ssar.engine.objective import Objective, Sealed, weighted_sum
from ssar.engine.plan import Plan
from ssar.engine.reading import Pending, Queued, Values
from ssar.engine.schedule import Schedule
from ssar.errors import UserError
from ssar.methods.base import Batch, Method
from ssar.progress import Meter
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Raw = TypeVar("Raw")

FP16_SKIPS = 20
"""Steps in a row that 16-mixed may skip while it looks for a loss scale; each halves it."""


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the global random state in one step of one process: dropout and whatever else a method draws."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Loop:
    """The state of a training and how it moves by one step."""

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        config: RunConfig,
        plan: Plan,
        runtime: Runtime,
        checkpoints: Checkpoints,
        curves: Curves,
        interrupt: Interrupt,
    ) -> None:
        self.fabric, self.method, self.config, self.plan, self.runtime = fabric, method, config, plan, runtime
        self.checkpoints, self.curves, self.interrupt = checkpoints, curves, interrupt
        self.objective, self.optimizer = fabric.setup(Objective(method), optim.build(config.optim, method))
        self.ema = exponential_average(method.predictor, config.train.ema) if config.train.ema > 0 else None
        self.schedule = Schedule(config.optim, plan.epochs)
        self.window, self.epoch_loss = Window(), Window()
        self.clips = plan.labelled + (plan.unlabelled if config.options.needs_unlabelled else 0)
        self.step, self.seconds, self.skipped = 0, 0.0, 0
        self.record: dict[str, Any] = {}
        """What run.json has to tell of all attempts."""
        self.pending: Pending | None = None
        self.tick = self.saved = time.monotonic()

    def run(self, source: Iterator[Raw], prepare: Callable[[Raw, float], tuple[Batch, Sequence[str]]]) -> None:
        """Train from the current step to the end of the plan.

        `source` yields micro-batches as decoded, from that step on; `prepare` makes of one, at a fractional epoch,
        the batch on the device and the paths of its videos. Raises UserError for a loss or gradient that is not
        finite; leaves by SystemExit, state saved, when the process was asked to stop.
        """
        self.objective.train()
        self.tick = self.saved = time.monotonic()
        with Meter(self.plan.steps, "training", self.step) as meter:
            while self.step < self.plan.steps:
                before, self.pending = self.pending, self._advance(source, prepare)
                self.step += 1
                # one process answers at once; several agree through the numbers that they exchange, a step later
                requests = self._requests() if self.fabric.world_size == 1 else []
                if before is not None:
                    values = self._note(before.values())
                    requests = requests or list(values.requests)
                self._end_epoch()
                if any(requests):
                    self._act(requests)
                meter.advance(detail=self.detail)
            self._flush()

    def _advance(self, source: Iterator[Raw], prepare: Callable[[Raw, float], tuple[Batch, Sequence[str]]]) -> Pending:
        """Queue one optimiser step on the device."""
        torch.manual_seed(step_seed(self.config.seed, self.step, self.fabric.global_rank))
        epoch, rounds = self.plan.epoch(self.step), self.plan.accumulation
        lr, weights = self.schedule.lr(epoch), self.method.weights(epoch)
        optim.set_lr(self.optimizer.optimizer, lr)
        terms, stats, videos, waited = [], [], [], 0.0
        for micro in range(rounds):
            asked = time.monotonic()
            raw = next(source)
            waited += time.monotonic() - asked
            batch, paths = prepare(raw, epoch)
            with self.fabric.no_backward_sync(self.objective, enabled=micro < rounds - 1):
                found = self.objective(Sealed(batch))
                self.fabric.backward(weighted_sum(found, weights) / rounds)
            terms.append({name: term.detach() for name, term in found.items()})
            stats.append(dict(self.method.stats))
            videos.append(paths)
        limit = self.config.optim.clip_norm or math.inf
        norm = self.fabric.clip_gradients(self.objective, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.after_step(self.step)
        if self.ema is not None:
            self.ema.update_parameters(self.method.predictor)
        queued = Queued(self.step, lr, weights, videos, waited)
        return Pending(queued, terms, norm, stats, self._requests(), self.fabric.all_reduce)

    def _note(self, values: Values) -> Values:
        """Take a finished step into the curves. Raises UserError where it was not finite."""
        means = values.means()
        self._refuse_non_finite(values, means)
        now = time.monotonic()
        self.window.add({**means, "seconds": now - self.tick, "waited": values.queued.waited})
        self.epoch_loss.add({"loss": means["loss"]})
        self.seconds, self.tick = self.seconds + now - self.tick, now
        done = values.queued.step + 1
        if done % self.runtime.log_every == 0 or done == self.plan.steps:
            row = {"step": done, "epoch": self.plan.epoch(done), "lr": values.queued.lr, **self.window.take()}
            seconds, waited = row.pop("seconds"), row.pop("waited")
            row |= {"clips_per_second": self.clips / seconds, "data_wait_share": waited / seconds}
            self.curves.add(row)
        return values

    @property
    def detail(self) -> str:
        """The last line of the curves, for people."""
        if not self.curves.rows:
            return ""
        row = self.curves.rows[-1]
        return "loss {loss:.3f}, {clips_per_second:.1f} clips/s, waits {data_wait_share:.0%}".format(**row)

    def _refuse_non_finite(self, values: Values, means: dict[str, float]) -> None:
        step = values.queued.step + 1
        found = [
            f"term {name!r} is {value}; its videos: {', '.join(videos)}"
            for name, value, videos in values.non_finite_terms()
        ]
        if not found and not math.isfinite(values.norm):
            self.skipped += 1
            if self.config.precision == "16-mixed" and self.skipped <= FP16_SKIPS:
                means["gradient_norm"] = math.nan  # the optimiser has skipped the step, and the scale is lower now
                return
            videos = ", ".join(path for paths in values.queued.videos for path in paths)
            found = [f"the gradient's norm is {values.norm}; the step's videos: {videos}"]
        if found:
            advice = "try a lower optim.lr, a longer warm-up, optim.clip_norm, or precision 32-true"
            raise UserError.of(f"step {step} of {self.plan.steps} is not finite; {advice}", found)
        self.skipped = 0

    def _end_epoch(self) -> None:
        """Let the plateau schedule see a finished epoch before the next one starts."""
        if self.config.optim.schedule != "plateau":
            return
        if math.floor(self.plan.epoch(self.step)) > math.floor(self.plan.epoch(self.step - 1)):
            self._flush()
            self.schedule.end_epoch(self.epoch_loss.take()["loss"])

    def _flush(self) -> None:
        """Wait for the step on the device and note it."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            self._note(pending.values())

    def _requests(self) -> list[float]:
        """What this process asks of all: a checkpoint, to stop for SIGTERM, to stop for SIGURG."""
        due = time.monotonic() - self.saved >= 60 * self.runtime.checkpoint_minutes
        received = self.interrupt.received
        asked = (due and self.fabric.is_global_zero, received == signal.SIGTERM, received == signal.SIGURG)
        return [float(value) for value in asked]

    def _act(self, requests: Sequence[float]) -> None:
        self.save()
        if requests[1] or requests[2]:
            self.curves.close()
            self.fabric.barrier()
            leave(signal.SIGTERM if requests[1] else signal.SIGURG, requeue=self.fabric.is_global_zero)

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        self._flush()
        if self.fabric.is_global_zero:
            self.checkpoints.save(self.state_dict())
        self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, and the curves so far."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "schedule": self.schedule.state_dict(),
            "window": self.window.state_dict(),
            "epoch_loss": self.epoch_loss.state_dict(),
            "rows": self.curves.rows,
            "record": self.record,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.step, self.seconds, self.skipped = state["step"], state["seconds"], state["skipped"]
        self.method.load_state_dict(state["method"])
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.schedule.load_state_dict(state["schedule"])
        self.window.load_state_dict(state["window"])
        self.epoch_loss.load_state_dict(state["epoch_loss"])
        self.curves.rows, self.record = list(state["rows"]), dict(state["record"])
