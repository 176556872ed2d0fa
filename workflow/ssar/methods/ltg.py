"""LTG: Learning from Temporal Gradient for Semi-supervised Action Recognition (CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from torch import Tensor, nn

from ssar.config import Modality, RunConfig
from ssar.losses.alignment import alignment
from ssar.losses.contrast import info_nce
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import fused_probabilities, pseudo_label_loss, select, statistics
from ssar.methods.base import Batch, Method, View, accuracy, evaluated, fixmatch_forward
from ssar.methods.options import LTGOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build
from ssar.models.heads import Projection

VIEWS = {
    modality: (
        View("labelled", modality, "weak"),
        View("unlabelled", modality, "weak"),
        View("unlabelled", modality, "strong"),
    )
    for modality in ("rgb", "tg")
}


class LTG(Method):
    """Two FixMatch networks, of RGB and of temporal gradients, tied by alignment and contrast.

    L = w_fm (L_fm^RGB + L_fm^TG) + w_kd L_kd + w_clr L_clr (Eq. 11), L_fm = L_l + lambda_u L_u (Eq. 6).
    The RGB network alone is evaluated.
    """

    views = VIEWS["rgb"] + VIEWS["tg"]
    predictor: Backbone  # f_R
    teacher: Backbone  # f_T
    others: ClassVar[Mapping[Modality, str]] = {"tg": "teacher"}

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(LTGOptions, config.options)
        self.predictor = build(config.model, num_classes)
        self.teacher = build(config.model, num_classes)
        # without the contrast there are no heads: DDP wants a gradient for every parameter
        if self.options.w_clr > 0:
            width = self.predictor.width
            self.project_rgb: nn.Module = Projection(width, self.options.projection)
            self.project_tg: nn.Module = Projection(width, self.options.projection)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        networks = {"rgb": self.predictor, "tg": self.teacher}
        features, labelled, weak, strong = {}, {}, {}, {}
        for m, network in networks.items():
            clips = [batch.clips[view] for view in VIEWS[m]]
            features[m], labelled[m], weak[m], strong[m] = fixmatch_forward(
                network, clips, options.strong_pass, needed=not self.warming_up(batch.epoch)
            )
            if options.pseudo_label_mode == "eval":
                weak[m] = evaluated(network, clips[1])

        fused = fused_probabilities(weak, options.pseudo_label, options.average_of)
        pseudo = {m: select(fused[m], options.threshold) for m in networks}  # Eq. 5
        for m in networks:
            terms[f"labelled_{m}"] = cross_entropy(labelled[m], batch.label)  # Eq. 1
            terms[f"unlabelled_{m}"] = pseudo_label_loss(strong[m], pseudo[m])  # Eq. 3

        # labelled and weak unlabelled clips: in strong ones the two modalities do not lie on each other
        paired = len(labelled["rgb"]) + len(weak["rgb"])
        if options.w_kd > 0:
            student, teacher = ([features[m].stages[i - 1][:paired] for i in options.blocks] for m in networks)
            terms["alignment"] = alignment(  # Eq. 9
                student,
                teacher,
                kind=options.distance,
                reduction=options.distance_reduction,
                block_reduction=options.block_reduction,
                stop_gradient=options.stop_gradient,
            )
        if options.w_clr > 0:
            seen = None if options.projected == "all" else paired
            rgb = self.project_rgb(features["rgb"].pooled[:seen])[:paired]
            tg = self.project_tg(features["tg"].pooled[:seen])[:paired]
            terms["contrast"] = info_nce(rgb, tg, options.temperature)  # Eq. 10

        alone = {"predictor": weak["rgb"], "tg": weak["tg"]}
        self.predictions = {name: at_least_float32(own.detach()).softmax(dim=1) for name, own in alone.items()}
        self.predictions["fused"] = fused["rgb"].detach()
        self.stats = {f"labelled_accuracy_{m}": accuracy(labelled[m], batch.label) for m in networks}
        self.stats |= statistics(pseudo["rgb"], batch.truth)
        if options.pseudo_label == "self":
            self.stats |= {f"{name}_tg": value for name, value in statistics(pseudo["tg"], batch.truth).items()}
        return terms

    def weights(self, epoch: float) -> dict[str, float]:
        options = self.options
        unlabelled = 0.0 if self.warming_up(epoch) else options.w_fm * options.lambda_u
        weights = dict.fromkeys(("labelled_rgb", "labelled_tg"), options.w_fm)
        weights |= dict.fromkeys(("unlabelled_rgb", "unlabelled_tg"), unlabelled)
        if options.w_kd > 0:
            weights["alignment"] = options.w_kd
        if options.w_clr > 0:
            weights["contrast"] = options.w_clr
        return weights
