"""Supervised training on the labelled videos alone, of RGB or of temporal gradients."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from ssar.config import RunConfig
from ssar.losses.cross_entropy import cross_entropy
from ssar.methods.base import Batch, Method, View, accuracy
from ssar.methods.options import SupervisedOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build


class Supervised(Method):
    """Cross-entropy L_l on weakly augmented labelled clips (LTG Eq. 1)."""

    predictor: Backbone

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.view = View("labelled", cast(SupervisedOptions, config.options).modality, "weak")
        self.views = (self.view,)
        self.predictor = build(config.model, num_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.predictor(batch.clips[self.view])
        self.stats = {"labelled_accuracy": accuracy(logits, batch.label)}
        return {"labelled": cross_entropy(logits, batch.label)}

    def weights(self, epoch: float) -> dict[str, float]:
        return {"labelled": 1.0}
