"""MvPL: Multiview Pseudo-Labeling for Semi-supervised Learning from Video (Xiong et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor

from ssar.config import RunConfig
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import fused_probabilities, pseudo_label_loss, select, statistics
from ssar.methods.base import Batch, Method, View, accuracy, evaluated, fixmatch_forward
from ssar.methods.options import MvPLOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build


def view_targets(
    logits: Mapping[str, Tensor],
    fusion: Literal["average", "self", "random"],
    average_of: Literal["probabilities", "logits"],
) -> dict[str, Tensor]:
    """The class probabilities (B_u, K) that become each view's pseudo-labels; `logits`: one (B_u, K) per view.

    `random` draws one of the other views for each clip, from torch's global random state.
    """
    if fusion != "random":
        return fused_probabilities(logits, fusion, average_of)
    own = fused_probabilities(logits, "self", average_of)
    targets = {}
    for name in own:
        others = torch.stack([probabilities for other, probabilities in own.items() if other != name])
        clip = torch.arange(others.shape[1], device=others.device)
        targets[name] = others[torch.randint(len(others), clip.shape, device=others.device), clip]
    return targets


class MvPL(Method):
    """FixMatch of one network on several views of a video, whose predictions are fused to its pseudo-label.

    L = 1/|V| sum_v (L_l^v + lambda_u L_u^v) over the views V. Each strong view is trained with the pseudo-label; RGB
    is evaluated.
    """

    predictor: Backbone

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(MvPLOptions, config.options)
        # as fixmatch_forward takes them: labelled, weak and strong clips
        self.by_modality: dict[str, tuple[View, ...]] = {
            m: (View("labelled", m, "weak"), View("unlabelled", m, "weak"), View("unlabelled", m, "strong"))
            for m in self.options.views
        }
        self.views = tuple(view for views in self.by_modality.values() for view in views)
        self.predictor = build(config.model, num_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        names = list(self.by_modality)
        clips = {m: [batch.clips[view] for view in self.by_modality[m]] for m in names}
        needed = not self.warming_up(batch.epoch)
        logits: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {}  # of labelled, weak and strong clips
        for group in [names] if options.view_pass == "joint" else [[m] for m in names]:
            together = [torch.cat(kind) for kind in zip(*(clips[m] for m in group), strict=True)]
            _, labelled, weak, strong = fixmatch_forward(self.predictor, together, options.strong_pass, needed)
            parts = [[None] * len(group) if x is None else x.chunk(len(group)) for x in (labelled, weak, strong)]
            logits |= zip(group, zip(*parts, strict=True), strict=True)
        if options.pseudo_label_mode == "eval":
            predicted = {m: evaluated(self.predictor, clips[m][1]) for m in names}
        else:
            predicted = {m: logits[m][1].detach() for m in names}

        targets = view_targets(predicted, options.fusion, options.average_of)
        pseudo = {m: select(targets[m], options.threshold) for m in names}
        for m in names:
            terms[f"labelled_{m}"] = cross_entropy(logits[m][0], batch.label)
            terms[f"unlabelled_{m}"] = pseudo_label_loss(logits[m][2], pseudo[m])

        self.stats = {f"labelled_accuracy_{m}": accuracy(logits[m][0], batch.label) for m in names}
        self.stats |= statistics(pseudo["rgb"], batch.truth)
        self.predictions = {"predictor": at_least_float32(predicted["rgb"]).softmax(dim=1)}
        return terms

    def weights(self, epoch: float) -> dict[str, float]:
        share = 1 / len(self.by_modality)
        unlabelled = 0.0 if self.warming_up(epoch) else self.options.lambda_u * share
        return {
            f"{kind}_{m}": weight
            for m in self.by_modality
            for kind, weight in (("labelled", share), ("unlabelled", unlabelled))
        }
