"""The self-supervised pretraining of TimeBalance's teachers and of its student (CVPR 2023)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ssar.config import RunConfig
from ssar.errors import UserError
from ssar.losses.temporal_contrast import (
    Pairs,
    contrastive_loss,
    distinctive_pairs,
    invariant_pairs,
    statistics,
    unpooled_pairs,
)
from ssar.methods.base import Batch, Method, View
from ssar.methods.options import PretrainingOptions
from ssar.methods.options.timebalance_ssl import GLOBAL
from ssar.models.backbone import Backbone
from ssar.models.build import build
from ssar.models.heads import MLP

WITH_POSITIVE = {
    "printed": {"invariant": True, "distinctive": False, "unpooled": True},
    "with-positive": dict.fromkeys(("invariant", "distinctive", "unpooled"), True),
    "negatives": dict.fromkeys(("invariant", "distinctive", "unpooled"), False),
}
"""Terms whose denominator holds the positive, by `PretrainingOptions.denominator`."""


class Pretraining(Method):
    """L = w_I L_I + w_D1 L_D1 + w_D2 L_D2 on n consecutive clips of each video (TimeBalance §3.1, D.2).

    All clips of a step pass the network together, and so do their embeddings the head. The classifier is not trained.
    """

    predictor: Backbone  # f
    projection: MLP  # g; the similarity scores of Eq. 5 are of its outputs

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(PretrainingOptions, config.options)
        copies = range(self.options.copies)
        self.local = [
            View("unlabelled", "rgb", "weak", name, copy) for copy in copies for name in self.options.clip_names
        ]
        self.long = [View("unlabelled", "rgb", "weak", GLOBAL, copy) for copy in copies if self.options.w_unpooled]
        self.views = (*self.local, *self.long)
        self.predictor = build(config.model, num_classes)
        self.predictor.fc.requires_grad_(False)  # no term reads it, and DDP waits for every trainable parameter
        self.projection = MLP(self.predictor.width, *self.options.projection)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z, unpooled = self._embed(batch)
        pairs: dict[str, Pairs] = {}
        if self.options.w_invariant:
            pairs["invariant"] = invariant_pairs(torch.cat(list(z[: self.options.invariant_copies]), dim=1))
        if self.options.w_distinctive:
            pairs["distinctive"] = distinctive_pairs(z[0], z[1])
        if self.options.w_unpooled:  # each copy of the short clips with each copy of the long one
            copies = len(z)
            pairs["unpooled"] = unpooled_pairs(
                z.repeat_interleave(copies, 0).flatten(0, 1), unpooled.repeat(copies, 1, 1)
            )
        self.stats = {f"{stat}_{term}": x for term in pairs for stat, x in statistics(pairs[term]).items()}
        with_positive = WITH_POSITIVE[self.options.denominator]
        return {
            term: contrastive_loss(
                pairs[term],
                self.options.temperature,
                with_positive=with_positive[term],
                reduction=self.options.reduction,
            )
            for term in pairs
        }

    def weights(self, epoch: float) -> dict[str, float]:
        options = self.options
        weights = {
            "invariant": options.w_invariant,
            "distinctive": options.w_distinctive,
            "unpooled": options.w_unpooled,
        }
        return {term: weight for term, weight in weights.items() if weight}

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """z of the clips, (copies, B, n, D), and of the long clips' slices, (copies * B, n, D), one copy after another.

        Without L_D2 there are no slices.
        """
        n = self.options.clips
        features = self.predictor.forward_all(torch.cat([batch.clips[view] for view in self.views]))
        videos = len(batch.clips[self.local[0]])
        local = len(self.local) * videos
        pooled = features.pooled[:local]
        slices = time_slices(features.stages[-1][local:], n) if self.long else pooled.new_empty(0, n, pooled.shape[1])
        z, unpooled = self.projection(torch.cat([pooled, slices.flatten(0, 1)])).split([local, len(slices) * n])
        return z.view(-1, n, videos, z.shape[1]).transpose(1, 2), unpooled.view(-1, n, z.shape[1])


def time_slices(last: Tensor, n: int) -> Tensor:
    """Unpooled features: a feature map (B, C, T, H, W) to the means (B, n, C) of n nearly equal parts of its time.

    Raises UserError where T is less than n.
    """
    if last.shape[2] < n:
        raise UserError(
            f"`options.w_unpooled`: the network's last feature map has {last.shape[2]} places in time, fewer than "
            f"`options.clips` ({n}); lower `model.temporal_strides` (r3d_18: [1, 2, 2, 1]), or set `w_unpooled: 0`"
        )
    return torch.stack([part.mean(dim=(2, 3, 4)) for part in last.tensor_split(n, dim=2)], dim=1)
