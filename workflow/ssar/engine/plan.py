"""How long a run is, and how its optimiser steps are made up. Free of torch, for cost estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssar.config import RunConfig
from ssar.errors import UserError


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a run: clips are counted per optimiser step and over all devices.

    A step is made of `shares`, each a batch of one of the paper's GPUs (see ssar.exchange); a device computes
    `accumulation` of them, `at_once` side by side, so that these can look at each other's clips.
    """

    steps: int
    shares: int
    accumulation: int
    at_once: int
    labelled: int
    unlabelled: int
    steps_per_epoch: float

    def epoch(self, step: int) -> float:
        """Fractional epoch at the start of a step."""
        return step / self.steps_per_epoch

    @property
    def epochs(self) -> float:
        """Length of the whole run in epochs."""
        return self.epoch(self.steps)


def exchanging(config: RunConfig) -> int:
    """How many shares of a step the loss and batch normalisation look at; 0 where nothing says that they look beyond
    their own."""
    if config.options.exchanges or config.train.batch_norm == "step" or config.train.shares == 1:
        return config.train.exchange or config.train.shares
    return 0


def divides(config: RunConfig, devices: int) -> bool:
    """Whether so many devices can divide the shares of a step, and of each exchange, among them."""
    group = exchanging(config)
    return config.train.shares % devices == 0 and (group <= 1 or group % devices == 0)


def plan(config: RunConfig, labelled_videos: int, unlabelled_videos: int, devices: int) -> Plan:
    """The plan of a run on a split of that many videos.

    An epoch is one pass of the stream that ``train.epoch_of`` names, batch by batch and without dropping a
    remainder, so epochs are fractional. A method that reads no unlabelled clips keeps the length that the stream
    *would* have: its supervised baseline takes as many steps as the semi-supervised run beside it.

    Raises UserError for shares that the devices cannot divide among them, or an empty stream.
    """
    train = config.train
    shares, group = train.shares, exchanging(config)
    if shares % devices:
        raise UserError(
            f"{devices} devices cannot divide a step of {shares} share(s) (train.global_labelled "
            f"{shares * train.labelled} / train.labelled {train.labelled}) among them; "
            f"choose `devices` and `nodes` whose product divides {shares}"
        )
    if group > 1 and group % devices:
        raise UserError(
            f"key `train.exchange`: {devices} devices cannot divide groups of {group} shares among them; choose a "
            f"multiple of {devices}, or {group} devices at most"
        )
    accumulation = shares // devices
    at_once = accumulation if train.batch_norm == "device" else max(group // devices, 1)
    labelled, unlabelled = train.labelled * shares, train.unlabelled * shares
    videos, batch = (labelled_videos, labelled) if train.epoch_of == "labelled" else (unlabelled_videos, unlabelled)
    if videos < 1:
        raise UserError(f"the split has no {train.epoch_of} videos, and train.epoch_of counts epochs by them")
    per_epoch = videos / batch
    # a whole number of epochs is often not a whole number of steps: the last step completes the last pass
    steps = train.steps or max(1, math.ceil(train.epochs * per_epoch - 1e-9))  # type: ignore[operator]
    return Plan(steps, shares, accumulation, at_once, labelled, unlabelled, per_epoch)
