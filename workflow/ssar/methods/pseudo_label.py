"""Pseudo-Label (Lee, ICML workshop 2013) for video, of RGB or of temporal gradients."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from ssar.config import RunConfig
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import pseudo_label_loss, select, statistics
from ssar.methods.base import Batch, Method, View, accuracy, joint_forward
from ssar.methods.options import PseudoLabelBaselineOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build


def alpha(epoch: float, final: float, start: float, end: float) -> float:
    """alpha(t) of Lee Eq. 16: 0 before T_1 (`start`), linear up to alpha_f (`final`) at T_2 (`end`), then constant."""
    if epoch < start:
        return 0.0
    return final if epoch >= end else final * (epoch - start) / (end - start)


class PseudoLabel(Method):
    """L = L_l + alpha(t) L_u (Lee Eq. 15): an unlabelled clip's own likeliest class is its label.

    Label and loss come from the same weak view in the same pass; the label is a constant.
    """

    predictor: Backbone

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(PseudoLabelBaselineOptions, config.options)
        self.views = (
            View("labelled", self.options.modality, "weak"),
            View("unlabelled", self.options.modality, "weak"),
        )
        self.predictor = build(config.model, num_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        _, (labelled, unlabelled) = joint_forward(self.predictor, [batch.clips[view] for view in self.views])
        probabilities = at_least_float32(unlabelled.detach()).softmax(dim=1)
        pseudo = select(probabilities, self.options.threshold)  # Eq. 14
        self.stats = {"labelled_accuracy": accuracy(labelled, batch.label), **statistics(pseudo, batch.truth)}
        self.predictions = {"predictor": probabilities}
        return {
            "labelled": cross_entropy(labelled, batch.label),
            "unlabelled": pseudo_label_loss(unlabelled, pseudo),
        }

    def weights(self, epoch: float) -> dict[str, float]:
        unlabelled = 0.0 if self.warming_up(epoch) else alpha(epoch, self.options.alpha_f, *self.options.ramp)
        return {"labelled": 1.0, "unlabelled": unlabelled}
