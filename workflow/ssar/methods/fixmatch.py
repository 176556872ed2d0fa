"""FixMatch (NeurIPS 2020) for video, as LTG §3.1 states it; of RGB or of temporal gradients."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from ssar.config import RunConfig
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import pseudo_label_loss, select, statistics
from ssar.methods.base import Batch, Method, View, accuracy, evaluated, fixmatch_forward
from ssar.methods.options import FixMatchOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build


class FixMatch(Method):
    """L_fm = L_l + L_u (LTG Eq. 4): the weak view's confident prediction is the strong view's label."""

    predictor: Backbone

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(FixMatchOptions, config.options)
        self.views = (
            View("labelled", self.options.modality, "weak"),
            View("unlabelled", self.options.modality, "weak"),
            View("unlabelled", self.options.modality, "strong"),
        )
        self.predictor = build(config.model, num_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        clips = [batch.clips[view] for view in self.views]
        needed = not self.warming_up(batch.epoch)
        _, labelled, weak, strong = fixmatch_forward(self.predictor, clips, self.options.strong_pass, needed)
        if self.options.pseudo_label_mode == "eval":
            weak = evaluated(self.predictor, clips[1])
        probabilities = at_least_float32(weak).softmax(dim=1)
        pseudo = select(probabilities, self.options.threshold)  # Eq. 2
        self.predictions = {"predictor": probabilities.detach()}
        self.stats = {"labelled_accuracy": accuracy(labelled, batch.label), **statistics(pseudo, batch.truth)}
        return {
            "labelled": cross_entropy(labelled, batch.label),  # Eq. 1
            "unlabelled": pseudo_label_loss(strong, pseudo),  # Eq. 3
        }

    def weights(self, epoch: float) -> dict[str, float]:
        unlabelled = 0.0 if self.warming_up(epoch) else self.options.w_unlabelled
        return {"labelled": self.options.w_labelled, "unlabelled": unlabelled}
