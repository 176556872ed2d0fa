"""Mean Teacher (Tarvainen and Valpola, NeurIPS 2017) for video, of RGB or of temporal gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor

from ssar.config import RunConfig
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import select, statistics
from ssar.methods.base import Batch, Method, View, accuracy, joint_forward
from ssar.methods.options import MeanTeacherOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build
from ssar.models.teacher import Teacher


def sigmoid_rampup(epoch: float, length: float) -> float:
    """exp(-5 (1 - t)^2) with t from 0 to 1 over `length` epochs, 1 after them (Mean Teacher §3.1)."""
    left = max(0.0, 1 - epoch / length) if length > 0 else 0.0
    return math.exp(-5 * left**2)


def consistency(student: Tensor, teacher: Tensor, reduction: Literal["sum", "mean"]) -> Tensor:
    """J = E ||f(x, theta', eta') - f(x, theta, eta)||^2 over softmax outputs (Mean Teacher Eq. 1), a scalar.

    Shapes: logits (B, K) each. The squared norm sums over the classes; `mean` averages over them, as released. The
    teacher receives no gradient.
    """
    target = at_least_float32(teacher.detach()).softmax(dim=1)
    squares = (at_least_float32(student).softmax(dim=1) - target).square()
    return (squares.sum(dim=1) if reduction == "sum" else squares.mean(dim=1)).mean()


class MeanTeacher(Method):
    """L = L_l + w(t) J: a student agrees with the moving average of itself, which is evaluated.

    Student and teacher see independent draws of a clip's augmentation. J is over labelled and unlabelled clips.
    """

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(MeanTeacherOptions, config.options)
        m = self.options.modality
        strength = self.options.student_view
        self.student_views = (
            View("labelled", m, "weak"),
            View("unlabelled", m, strength, copy=1 if strength == "weak" else 0),
        )
        self.teacher_views = (View("labelled", m, "weak", copy=1), View("unlabelled", m, "weak"))
        self.views = self.student_views + self.teacher_views
        self.student = build(config.model, num_classes)
        self.teacher = Teacher.of(self.student)
        self.epoch = 0.0  # of the last loss, which tells `after_step` the phase

    @property
    def predictor(self) -> Backbone:  # type: ignore[override]
        """The teacher's network; as an attribute it would stand in the state twice."""
        return self.teacher.network

    def start(self, upstream: Mapping[str, Path], videos: Mapping[str, Sequence[str]]) -> list[str]:
        """The student starts from the weights that the evaluated network is given."""
        remarks = super().start(upstream, videos)
        self.student.load_state_dict(self.predictor.state_dict())
        return remarks

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options = self.options
        clips = [batch.clips[view] for view in self.student_views]
        if options.student_pass == "joint":
            _, (labelled, unlabelled) = joint_forward(self.student, clips)
        else:
            labelled, unlabelled = (self.student(group) for group in clips)
        seen = torch.cat([batch.clips[view] for view in self.teacher_views])
        target = self.teacher(seen)

        probabilities = at_least_float32(target[len(labelled) :]).softmax(dim=1)
        self.stats = {"labelled_accuracy": accuracy(labelled, batch.label)}
        self.stats |= statistics(select(probabilities, threshold=0), batch.truth)
        self.predictions = {"predictor": probabilities}
        self.epoch = batch.epoch
        return {
            "labelled": cross_entropy(labelled, batch.label),
            "consistency": consistency(torch.cat([labelled, unlabelled]), target, options.reduction),
        }

    def weights(self, epoch: float) -> dict[str, float]:
        ramp = 0.0 if self.warming_up(epoch) else sigmoid_rampup(epoch, self.options.rampup_epochs)
        return {"labelled": 1.0, "consistency": ramp * self.options.w_consistency}

    def after_step(self, step: int) -> None:
        """theta'_t = alpha theta'_(t-1) + (1 - alpha) theta_t (Mean Teacher Eq. 2)."""
        rising = self.epoch < self.options.rampup_epochs
        self.teacher.follow(self.student, self.options.ema_decay_rampup if rising else self.options.ema_decay)
