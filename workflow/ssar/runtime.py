"""Where and how fast a run runs: nothing here changes a result beyond rounding, so nothing is in a run's id."""

from __future__ import annotations

from typing import Literal

from ssar.options import Closed, NonNegative, Positive, option


class Runtime(Closed):
    """The group `runtime` of config/config.yaml, passed to every stage that reads videos or trains."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = option("auto", about="Fabric accelerator")
    devices: Positive = option(1, about="devices of one run on each of its nodes")
    nodes: Positive = option(1, about="nodes of one run; more than one needs SLURM")
    workers: int = option(4, about="decoding processes per device; 0 decodes in the training process", ge=0)
    threads: Positive | None = option(None, about="CPU threads of the training process; none: the rule's threads")
    reader: Literal["auto", "decord", "pyav", "torchcodec"] = option("auto", about="video decoder")
    cache_mb: int = option(
        0, about="memory for whole decoded videos in each decoding process; for small datasets", ge=0
    )
    checkpoint_minutes: NonNegative = option(15.0, about="minutes between resume checkpoints; 0 is every step")
    log_every: Positive = option(20, about="optimiser steps between lines of curves.csv")
    watchdog_seconds: float = option(300.0, about="a decoder silent for this long ends the run", gt=0)
    self_test: Literal["fallback", "refuse", "off"] = option(
        "fallback", about="what a failed numeric self-test of the chosen precision does"
    )

    @property
    def world(self) -> int:
        """Devices of one run in all."""
        return self.devices * self.nodes
