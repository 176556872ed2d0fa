"""3DRotNet (2018): self-supervised pretraining by telling how far a clip was turned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssar.config import RunConfig
from ssar.losses.cross_entropy import cross_entropy
from ssar.methods.base import Batch, Method, View, accuracy
from ssar.models.backbone import Backbone
from ssar.models.build import build

TURNS = 4
"""Quarter turns of the frames: 0, 90, 180 and 270 degrees."""


class Rotation(Method):
    """Every clip in all four rotations, which a linear head tells apart; the classifier is not trained."""

    view = View("unlabelled", "rgb", "weak")
    views = (view,)
    predictor: Backbone

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.predictor = build(config.model, num_classes)
        self.predictor.fc.requires_grad_(False)  # no term reads it, and DDP waits for every trainable parameter
        self.rotation = nn.Linear(self.predictor.width, TURNS)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        clips = batch.clips[self.view]
        turned = torch.cat([clips.rot90(turns, dims=(3, 4)) for turns in range(TURNS)])
        logits = self.rotation(self.predictor.features(turned))
        label = torch.arange(TURNS, device=clips.device).repeat_interleave(len(clips))
        self.stats = {"rotation_accuracy": accuracy(logits, label)}
        return {"rotation": cross_entropy(logits, label)}

    def weights(self, epoch: float) -> dict[str, float]:
        return {"rotation": 1.0}
