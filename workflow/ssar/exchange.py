"""What the batches of a step tell each other, whichever process computes them.

The papers train on 8 or 16 GPUs with a small batch on each. Here such a batch is a *share* of the step: S shares make
up the global batch, on however many devices. Losses on pairs and synchronised batch normalisation look beyond a share.
On as many devices as shares that is a collective; on fewer, one process computes several shares side by side, and each
waits at `exchange` until the others have come to the same place. So any number of devices computes the same step.

Shares are counted in the order of the data: share s of a step is the micro-batch s // D of process s mod D.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
import torch.distributed as dist
from greenlet import getcurrent, greenlet
from torch import Tensor

T = TypeVar("T")


class Kept(Protocol):
    """What belongs to one share and has to be exchanged when another one takes its turn."""

    def leave(self) -> Any:
        """What is to be kept of the share that stops."""

    def enter(self, kept: Any) -> None:
        """Put back what a share that goes on had."""


class _Offer(NamedTuple):
    """A share's tensor at a place where it waits, and what makes one answer of those of all shares here."""

    value: Tensor
    combine: Callable[[list[Tensor]], Tensor]
    with_gradient: bool


class Turns:
    """The shares that this process computes side by side.

    `of`: how many shares, over all processes, the loss says that it looks at; 1 for its own alone, 0 where it says
    nothing. `first`: how many
    shares of the step this process has computed before.
    """

    now: Turns | None = None
    """The one that is running."""

    def __init__(self, tasks: Sequence[Callable[[], Any]], keep: Kept, of: int, first: int = 0) -> None:
        self.tasks, self.keep, self.of, self.first = list(tasks), keep, of, first
        self.place = first
        """Which of the process's shares of the step is running."""

    def run(self) -> list[Any]:
        """Run all tasks, each up to the next `exchange` in turn, and return their results.

        Raises RuntimeError where one ends while others wait for it, and whatever a task raises.
        """
        before, Turns.now = Turns.now, self
        outside = self.keep.leave()
        shares = [greenlet(task) for task in self.tasks]
        for share in shares:  # settings of libraries hold in them, too
            share.gr_context = contextvars.copy_context()
        kept = [outside] * len(shares)
        answer: tuple[Any, ...] = ()
        try:
            while True:
                came = []
                for number, share in enumerate(shares):
                    self.place = self.first + number
                    self.keep.enter(kept[number])
                    came.append(share.switch(*answer))
                    kept[number] = self.keep.leave()
                self.keep.enter(outside)
                if all(share.dead for share in shares):
                    return came
                if any(share.dead for share in shares):
                    raise RuntimeError("some batches of a step exchange more often than others: a loss must not skip")
                with torch.set_grad_enabled(came[0].with_gradient):
                    answer = (came[0].combine([offer.value for offer in came]),)
        finally:
            Turns.now = before
            self.keep.enter(outside)

    def wait(self, offer: _Offer) -> Tensor:
        """Stop the running share until all have come here; the combined answer."""
        found: Tensor = getcurrent().parent.switch(offer)
        return found


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def place() -> int:
    """Which of this process's shares of the step is running."""
    return Turns.now.place if Turns.now is not None else 0


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the compiler must not follow where others take turns
def exchange(value: Tensor, combine: Callable[[list[Tensor]], Tensor]) -> Tensor:
    """The answer that `combine` makes of this tensor and those of the other shares here; the same for each of them.

    Raises RuntimeError under `torch.inference_mode`, which would stay on in the other shares.
    """
    turns = Turns.now
    if turns is None or len(turns.tasks) == 1:
        return combine([value])
    if torch.is_inference_mode_enabled():
        raise RuntimeError("shares cannot exchange under torch.inference_mode; use torch.no_grad there")
    return turns.wait(_Offer(value, combine, torch.is_grad_enabled()))


class _GatherProcesses(torch.autograd.Function):
    """All-gather whose gradient returns to the process that each part came from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.stack(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[:, dist.get_rank()].contiguous()


def _gather_processes(parts: Sequence[Tensor]) -> Tensor:
    """Equal tensors (...) of the shares here to (shares of all processes, ...) in the order of shares."""
    local = torch.stack(list(parts)).contiguous()
    if processes() == 1:
        return local
    everything: Tensor = _GatherProcesses.apply(local)
    return everything.flatten(0, 1)


def gather_shares(x: Tensor) -> Tensor:
    """(...) of each share to (shares, ...), in their order, on all of them.

    The gradient that reaches a share is the sum of all shares' gradients for its part. A loss that every share
    computes on what all have, and whose gradient is averaged over the shares, is therefore that of one big batch.

    Raises RuntimeError where nothing has said that the loss looks beyond its own share.
    """
    turns = Turns.now
    if turns is not None and turns.of == 1:  # wanted so (`train.exchange: 1`), or there is but one
        return x.unsqueeze(0)
    if turns is not None and turns.of != len(turns.tasks) * processes():
        raise RuntimeError(
            "a loss looks at the other shares of its step, and the method's options do not say so by `exchanges`"
        )
    return exchange(x, _gather_processes)


def gather_with_gradient(x: Tensor) -> Tensor:
    """(B, ...) of each share, the same B everywhere, to (shares * B, ...) in their order; see `gather_shares`."""
    return gather_shares(x).flatten(0, 1)


@torch.no_grad()
def gathered(parts: Sequence[Tensor]) -> Tensor:
    """What this process noted of its shares of a step, each (B, ...), to that of all: (shares * B, ...), in order.

    For use after the step, without gradient; collective.
    """
    return _gather_processes(parts).flatten(0, 1)
