"""The numbers of an optimiser step, brought from the device one step later so that it never waits for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Queued:
    """What the host knows of a step when it has queued it."""

    step: int
    lr: float
    weights: Mapping[str, float]
    videos: Sequence[Sequence[str]]  # paths of each micro-batch
    waited: float  # seconds for data


@dataclass(frozen=True)
class Values:
    """The numbers of a finished step, means over processes."""

    queued: Queued
    terms: Sequence[Mapping[str, float]]  # of each micro-batch
    norm: float
    stats: Mapping[str, float]
    requests: Sequence[float]  # above 0 where any process asks

    def means(self) -> dict[str, float]:
        """The loss, its terms, the gradient's norm and the method's statistics."""
        terms = {name: sum(micro[name] for micro in self.terms) / len(self.terms) for name in self.terms[0]}
        loss = sum(self.queued.weights[name] * value for name, value in terms.items())
        return {"loss": loss, **terms, "gradient_norm": self.norm, **self.stats}

    def non_finite_terms(self) -> list[tuple[str, float, Sequence[str]]]:
        """Each term that is not finite: its name, its value and the videos of its micro-batch."""
        return [
            (name, value, videos)
            for micro, videos in zip(self.terms, self.queued.videos, strict=True)
            for name, value in micro.items()
            if not math.isfinite(value)
        ]


class Pending:
    """A step's numbers on their way to the host: one small vector, copied while the device works on.

    `terms`, `stats`: scalars on the device, of each micro-batch; a NaN among `stats` is left out of its mean.
    `requests`: numbers of this process that any other has to learn of. `mean` averages a tensor over processes.
    """

    def __init__(
        self,
        queued: Queued,
        terms: Sequence[Mapping[str, Tensor]],
        norm: Tensor,
        stats: Sequence[Mapping[str, Tensor]],
        requests: Sequence[float],
        mean: Callable[[Tensor], Tensor],
    ) -> None:
        self.queued, self.micros = queued, len(terms)
        self.term_names, self.stat_names = list(terms[0]), list(stats[0])
        loose = [value.detach().float() for micro in terms for value in micro.values()] + [norm.detach().float()]
        measured = [micro[name].detach().float() for micro in stats for name in self.stat_names]
        vector = torch.stack(loose + measured)
        known = vector[len(loose) :].isfinite()
        asked = torch.tensor(requests, device=vector.device)
        vector = torch.cat([vector[: len(loose)], vector[len(loose) :].where(known, 0.0), known.float(), asked])
        self.vector = mean(vector).to("cpu", non_blocking=True)
        self.arrived = torch.cuda.Event() if norm.is_cuda else None
        if self.arrived is not None:
            self.arrived.record()

    def values(self) -> Values:
        """Wait for the numbers and name them."""
        if self.arrived is not None:
            self.arrived.synchronize()
        flat = iter(self.vector.tolist())
        terms = [{name: next(flat) for name in self.term_names} for _ in range(self.micros)]
        norm = next(flat)
        sums, counts = ([[next(flat) for _ in self.stat_names] for _ in range(self.micros)] for _ in range(2))
        stats = {}
        for index, name in enumerate(self.stat_names):
            count = sum(row[index] for row in counts)
            stats[name] = sum(row[index] for row in sums) / count if count else math.nan
        return Values(self.queued, terms, norm, stats, list(flat))
