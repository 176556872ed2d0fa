"""How long a run is, and how its optimiser steps are made up of micro-batches. Free of torch, for cost estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssar.config import TrainConfig
from ssar.errors import UserError


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a run: all counts are per optimiser step and over all devices."""

    steps: int
    accumulation: int
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


def plan(train: TrainConfig, labelled_videos: int, unlabelled_videos: int, devices: int) -> Plan:
    """The plan of a run on a split of that many videos.

    An epoch is one pass of the stream that ``train.epoch_of`` names, batch by batch and without dropping a
    remainder, so epochs are fractional. A method that reads no unlabelled clips keeps the length that the stream
    *would* have: its supervised baseline takes as many steps as the semi-supervised run beside it.

    Raises UserError for a global batch that devices and micro-batches cannot make up, or an empty stream.
    """
    per_round = train.labelled * devices
    wanted = train.global_labelled or per_round
    if wanted % per_round:
        raise UserError(
            f"train.global_labelled is {wanted}, but {devices} device(s) x train.labelled {train.labelled} = "
            f"{per_round} clips per micro-batch do not divide it; change `runtime.devices` or `train.labelled`"
        )
    accumulation = wanted // per_round
    unlabelled = train.unlabelled * devices * accumulation
    videos, batch = (labelled_videos, wanted) if train.epoch_of == "labelled" else (unlabelled_videos, unlabelled)
    if videos < 1:
        raise UserError(f"the split has no {train.epoch_of} videos, and train.epoch_of counts epochs by them")
    per_epoch = videos / batch
    # a whole number of epochs is often not a whole number of steps: the last step completes the last pass
    steps = train.steps or max(1, math.ceil(train.epochs * per_epoch - 1e-9))  # type: ignore[operator]
    return Plan(steps, accumulation, wanted, unlabelled, per_epoch)
