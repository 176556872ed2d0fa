"""The training loop: optimisation and resuming. Equations are the method's, decoding the loader's.

A step is a function of the state before it and of its number alone: its data comes from (seed, step), and so does
the global random state, which is set anew at every step. A run that was killed and continues from a checkpoint
therefore repeats what it would have done, dropout included, and there is no random state to save.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor

from ssar.config import RunConfig
from ssar.engine import optim
from ssar.engine.account import Account
from ssar.engine.agreement import agree
from ssar.engine.averaging import exponential_average
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt, leave
from ssar.engine.life import Life
from ssar.engine.logs import Curves
from ssar.engine.objective import Objective, Outcome, Sealed, Share, weighted_sum
from ssar.engine.plan import Plan, exchanging
from ssar.engine.randomness import reseed, step_seed
from ssar.engine.reading import Pending, Queued
from ssar.engine.record import Recorder
from ssar.engine.schedule import Schedule
from ssar.errors import UserError
from ssar.methods.base import Batch, Method
from ssar.models.batch_statistics import BatchStatistics
from ssar.progress import Meter
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Raw = TypeVar("Raw")
Prepare = Callable[[Raw, float], tuple[Batch, Sequence[str]]]

FP16_SKIPS = 20
"""Steps in a row that 16-mixed may skip while it looks for a loss scale; each halves it."""


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
        recorder: Recorder | None = None,
        life: Life | None = None,
    ) -> None:
        self.fabric, self.method, self.config, self.plan = fabric, method, config, plan
        self.checkpoints, self.interrupt, self.recorder = checkpoints, interrupt, recorder
        self.life = life or Life()
        objective = Objective(method, exchanging(config))
        self.objective, self.optimizer = fabric.setup(objective, optim.build(config.optim, method))
        self.statistics = BatchStatistics(method)
        self.ema = exponential_average(method.predictor, config.train.ema) if config.train.ema > 0 else None
        self.schedule = Schedule(config.optim, plan.epochs)
        clips = plan.labelled + (plan.unlabelled if config.options.needs_unlabelled else 0)
        skips = FP16_SKIPS if config.precision == "16-mixed" else 0
        self.account = Account(plan, curves, clips, runtime.log_every, skips)
        self.patience = 60 * runtime.checkpoint_minutes
        self.step, self.saved = 0, time.monotonic()
        self.record: dict[str, Any] = {}
        """What run.json has to tell of all attempts."""
        self.pending: Pending | None = None

    def run(self, source: Iterator[Raw], prepare: Prepare[Raw]) -> None:
        """Train from the current step to the end of the plan.

        `source` yields micro-batches as decoded, from that step on; `prepare` makes of one, at a fractional epoch,
        the batch on the device and the paths of its videos. Raises UserError for a loss or gradient that is not
        finite, Superseded when a newer attempt has begun; leaves by SystemExit, state saved, when the process was
        asked to stop.
        """
        self.objective.train()
        self.account.start()
        self.life.begin(self.step, self.plan.steps, self.account.clips)
        self.saved = time.monotonic()
        speaks = self.fabric.is_global_zero
        with Meter(self.plan.steps, "training", self.step) if speaks else nullcontext() as meter:
            while self.step < self.plan.steps:
                with self._enough_memory():
                    before, self.pending = self.pending, self._advance(source, prepare)
                self.step += 1
                self.life.advance(self.step)
                self._end_interval()
                # one process answers at once; several agree through the numbers that they exchange, a step later
                requests: Sequence[float] = self._requests() if self.fabric.world_size == 1 else ()
                if before is not None:
                    values = before.values()
                    self.account.take(values)
                    requests = requests or values.requests
                self._end_epoch()
                if any(requests):
                    self._act(requests)
                if meter is not None:
                    meter.advance(detail=str(self.account))
            self._flush()

    def _advance(self, source: Iterator[Raw], prepare: Prepare[Raw]) -> Pending:
        """Queue one optimiser step on the device."""
        plan, epoch = self.plan, self.plan.epoch(self.step)
        lr, weights = self.schedule.lr(epoch), self.method.weights(epoch)
        optim.set_lr(self.optimizer.optimizer, lr)
        outcomes: list[Outcome] = []
        videos, waited = [], 0.0
        for first in range(0, plan.accumulation, plan.at_once):
            shares = []
            for number in range(first, first + plan.at_once):
                asked = time.monotonic()
                raw = next(source)
                waited += time.monotonic() - asked
                batch, paths = prepare(raw, epoch)
                shares.append(Share(batch, self._seed(number)))
                videos.append(paths)
            last = first + plan.at_once == plan.accumulation
            with self.fabric.no_backward_sync(self.objective, enabled=not last):
                found: list[Outcome] = self.objective(Sealed(shares, first))
                total: Any = sum(weighted_sum(share.terms, weights) for share in found)
                self.fabric.backward(total / plan.accumulation)
            self._record(first, shares, found)
            # without the graph
            outcomes += [Outcome({k: x.detach() for k, x in said.terms.items()}, said.stats, {}) for said in found]
        limit = self.config.optim.clip_norm or math.inf
        norm = self.fabric.clip_gradients(self.objective, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.statistics.commit()
        reseed(self.fabric.device, step_seed(self.config.seed, self.step, plan.shares))
        self.method.after_step(self.step)
        if self.ema is not None:
            self.ema.update_parameters(self.method.predictor)
        queued = Queued(self.step, lr, weights, videos, waited)
        terms, stats = [share.terms for share in outcomes], [share.stats for share in outcomes]
        return Pending(queued, terms, norm, stats, self._requests(), self._mean)

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        """What a device that runs out of memory leads to: UserError that says which settings take less."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            plan, ways = self.plan, []
            if plan.at_once > 1:
                ways.append("take more devices")
                ways.append(
                    f"set train.exchange below {plan.at_once * self.fabric.world_size} (not as the paper has it)"
                )
            if self.config.precision == "32-true":
                ways.append("choose precision bf16-mixed")
            ways.append("set a lower train.labelled and train.unlabelled")
            raise UserError(
                f"{self.fabric.device} ran out of memory in step {self.step + 1} with {plan.at_once} share(s) at once: "
                f"{'; '.join(ways)}\n{str(error).splitlines()[0]}"
            ) from error

    def _seed(self, number: int) -> int:
        """The random seed of one of this process's shares of the step."""
        share = number * self.fabric.world_size + self.fabric.global_rank
        return step_seed(self.config.seed, self.step, share)

    def _record(self, first: int, shares: Sequence[Share], found: Sequence[Outcome]) -> None:
        """Let the recorder see what the networks predict; later shares of a step count as later."""
        if self.recorder is None:
            return
        for number, (share, said) in enumerate(zip(shares, found, strict=True), start=first):
            if said.predictions:
                micro = self.step * self.plan.accumulation + number
                moment = micro * self.fabric.world_size + self.fabric.global_rank
                self.recorder.see(moment, share.batch.video["unlabelled"], said.predictions)

    def _mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        return cast(Tensor, self.fabric.all_reduce(values, reduce_op="mean"))

    def _end_interval(self) -> None:
        """Let the recorder take a snapshot where the finished step ends one of its intervals."""
        if self.recorder is not None:
            before, after = self.plan.epoch(self.step - 1), self.plan.epoch(self.step)
            self.recorder.end_step(before, after, last=self.step == self.plan.steps)

    def _end_epoch(self) -> None:
        """Let the plateau schedule see a finished epoch before the next one starts."""
        if self.config.optim.schedule != "plateau":
            return
        if math.floor(self.plan.epoch(self.step)) > math.floor(self.plan.epoch(self.step - 1)):
            self._flush()
            self.schedule.end_epoch(self.account.mean_loss())

    def _flush(self) -> None:
        """Wait for the step on the device and note it."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            self.account.take(pending.values())

    def _requests(self) -> list[float]:
        """What this process asks of all: a checkpoint, to stop for SIGTERM or the like, to stop for SIGURG."""
        due = time.monotonic() - self.saved >= self.patience
        received = self.interrupt.received
        urgent = received == signal.SIGURG
        asked = (due and self.fabric.is_global_zero, received and not urgent, urgent)
        return [float(bool(value)) for value in asked]

    def _act(self, requests: Sequence[float]) -> None:
        self.save()
        _, terminate, urgent = requests
        if terminate or urgent:
            self.account.curves.close()
            leave(signal.SIGTERM if terminate else signal.SIGURG, self.fabric.is_global_zero, self.fabric.barrier)

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        self._flush()
        agree(self.fabric, self.method.state_dict(), f"checkpoint of step {self.step}")
        if self.recorder is not None:
            self.recorder.merge()
        if self.fabric.is_global_zero:
            self.checkpoints.save(self.state_dict())
        self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, and the account so far."""
        state = {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "schedule": self.schedule.state_dict(),
            "account": self.account.state_dict(),
            "record": self.record,
        }
        return state if self.recorder is None else state | {"recorder": self.recorder.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.step, self.record = state["step"], dict(state["record"])
        self.method.load_state_dict(state["method"])
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.schedule.load_state_dict(state["schedule"])
        self.account.load_state_dict(state["account"])
        # a state of before the record was asked for has none
        if self.recorder is not None and "recorder" in state:
            self.recorder.load_state_dict(state["recorder"])
