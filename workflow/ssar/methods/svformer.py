"""SVFormer: Semi-supervised Video Transformer for Action Recognition (CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ssar.augment.temporal_warp import temporal_warp
from ssar.config import RunConfig
from ssar.errors import UserError
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import PseudoLabels, pseudo_label_loss, select, statistics
from ssar.losses.token_mix import confident_one_hot, mix_labels, mix_tokens, token_mix_loss, tube_mask
from ssar.methods.base import Batch, Method, View, accuracy, joint_forward
from ssar.methods.options import SVFormerOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build
from ssar.models.teacher import Teacher
from ssar.models.timesformer import TimeSformer


class SVFormer(Method):
    """L = L_l + gamma_1 L_u + gamma_2 L_mix; pseudo-labels come from a moving average of the student.

    L_mix (Tube TokenMix) needs a network with tokens; with `w_mix: 0` any network serves. Raises UserError otherwise.
    """

    student: Backbone
    teacher: Teacher

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(SVFormerOptions, config.options)
        if self.options.w_mix > 0 and config.model.arch != "timesformer":
            raise UserError(
                f"model.arch: Tube TokenMix mixes tokens, which {config.model.arch} has none of; choose timesformer, "
                "or set options.w_mix to 0"
            )
        self.labelled = View("labelled", "rgb", "weak")
        self.weak = View("unlabelled", "rgb", "weak")
        clip = "strong" if self.options.strong_clip == "own" else "main"
        self.strong = View("unlabelled", "rgb", "strong", clip)
        self.views = (self.labelled, self.weak, self.strong)
        self.student = build(config.model, num_classes)
        self.teacher = Teacher.of(self.student)

    @property
    def predictor(self) -> Backbone:  # type: ignore[override]
        """The evaluated one of the two networks."""
        return self.student if self.options.evaluate == "student" else self.teacher.network

    def start(self, upstream: Mapping[str, Path], videos: Mapping[str, Sequence[str]]) -> list[str]:
        """Both networks start from the same weights."""
        remarks = super().start(upstream, videos)
        state = self.predictor.state_dict()
        self.student.load_state_dict(state)
        self.teacher.network.load_state_dict(state)
        return remarks

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options = self.options
        probabilities = at_least_float32(self.teacher(batch.clips[self.weak])).softmax(dim=1)
        pseudo = select(probabilities, options.threshold)
        strong_clips = batch.clips[self.strong]
        if options.warp_frames:
            strong_clips = temporal_warp(strong_clips, options.warp_frames, options.warp_fill)

        terms = {}
        if options.w_mix > 0:
            labelled, strong, terms["mix"] = self._mixed(
                batch.clips[self.labelled], strong_clips, probabilities, pseudo
            )
        else:
            labelled, strong = self._plain(batch.clips[self.labelled], strong_clips)
        terms["labelled"] = cross_entropy(labelled, batch.label)  # ACL+MTL Eq. 1
        terms["unlabelled"] = pseudo_label_loss(strong, pseudo)  # ACL+MTL Eq. 2

        self.stats = {"labelled_accuracy": accuracy(labelled, batch.label), **statistics(pseudo, batch.truth)}
        self.predictions = {"teacher": probabilities}
        return terms

    def _plain(self, labelled: Tensor, strong: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the labelled and the strong clips, in one pass or two."""
        if self.options.strong_pass == "own":
            return self.student(labelled), self.student(strong)
        _, (first, second) = joint_forward(self.student, [labelled, strong])
        return first, second

    def _mixed(
        self, labelled: Tensor, strong: Tensor, probabilities: Tensor, pseudo: PseudoLabels
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the labelled and the strong clips, and L_mix; one pass over them and the mixed ones.

        Patches are embedded once. A pass of their own for the strong clips would make no difference: a transformer
        has no batch statistics.
        """
        options, student = self.options, cast(TimeSformer, self.student)
        tokens = student.embed(torch.cat([labelled, strong]))
        own = tokens[len(labelled) :]
        partner = torch.randperm(len(own), device=own.device)
        mask = tube_mask(len(own), own.shape[2], options.alpha, options.mix_mask, own.device)
        logits = student.encode(torch.cat([tokens, mix_tokens(own, partner, mask)])).logits
        first, second, mixed = logits.split([len(labelled), len(own), len(own)])

        label = probabilities
        if options.mix_label == "confident-hard":
            label = confident_one_hot(probabilities, options.threshold)
        target = mix_labels(label, partner, mask)
        weight = torch.ones(len(own), device=own.device)
        if options.mix_confident == "share":
            weight = mix_labels(pseudo.confident.float()[:, None], partner, mask)[:, 0]
        return first, second, token_mix_loss(mixed, target, weight, options.mix_loss, options.mix_reduction)

    def weights(self, epoch: float) -> dict[str, float]:
        weights = {"labelled": 1.0, "unlabelled": 0.0 if self.warming_up(epoch) else self.options.w_unlabelled}
        if self.options.w_mix > 0:
            weights["mix"] = 0.0 if self.warming_up(epoch) else self.options.w_mix
        return weights

    def after_step(self, step: int) -> None:
        """theta_t <- m theta_t + (1 - m) theta_s."""
        self.teacher.follow(self.student, self.options.ema)
