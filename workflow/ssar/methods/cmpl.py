"""CMPL: Cross-Model Pseudo-Labeling for Semi-Supervised Action Recognition (CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from torch import Tensor

from ssar.config import ModelConfig, RunConfig
from ssar.errors import UserError
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.cross_model import cross_model_probabilities
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import PseudoLabels, pseudo_label_loss, select, statistics
from ssar.methods.base import Batch, Method, View, accuracy, evaluated, joint_forward
from ssar.methods.options import CMPLOptions
from ssar.methods.options.cmpl import AUXILIARY, Auxiliary
from ssar.models.backbone import Backbone
from ssar.models.build import build

Part = Literal["labelled", "weak", "strong"]

PRIMARY_VIEWS: dict[Part, View] = {
    "labelled": View("labelled", "rgb", "weak"),  # T_standard^F
    "weak": View("unlabelled", "rgb", "weak"),
    "strong": View("unlabelled", "rgb", "strong"),
}
TERMS: dict[Part, str] = {"labelled": "labelled", "strong": "unlabelled"}
"""The terms L_s and L_u that views feed."""
F, A = "", f"_{AUXILIARY}"
"""What the terms and statistics of each network end in."""


class CMPL(Method):
    """Two networks of different capacity label the unlabelled clips for each other.

    L = (L_s^F + L_s^A) + lambda (L_u^F + L_u^A) (Eq. 6). The primary network F alone is evaluated. With shared
    parameters A is F itself on another clip of the video, which is FixMatch with two clips (Table 3).
    """

    predictor: Backbone  # F
    auxiliary: Backbone  # A; absent where parameters are shared

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(CMPLOptions, config.options)
        self.seen = {F: PRIMARY_VIEWS, A: auxiliary_views(config, self.options)}
        self.views = tuple(dict.fromkeys(view for views in self.seen.values() for view in views.values()))
        self.predictor = build(config.model, num_classes)
        if not self.options.auxiliary.shared:
            self.auxiliary = build(auxiliary_model(config.model, self.options.auxiliary), num_classes)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        networks = {F: self.predictor, A: self.predictor if options.auxiliary.shared else self.auxiliary}
        logits = {name: self._logits(network, self.seen[name], batch) for name, network in networks.items()}
        p = {name: at_least_float32(found["weak"]).softmax(dim=1).detach() for name, found in logits.items()}
        learned = cross_model_probabilities(p[F], p[A], options.label_source, options.threshold)
        pseudo = {name: select(labels, options.threshold) for name, labels in zip((F, A), learned, strict=True)}
        for name, found in logits.items():
            if "labelled" in found:
                terms[f"labelled{name}"] = cross_entropy(found["labelled"], batch.label)  # Eq. 2 and 3
            if "strong" in self.seen[name]:
                terms[f"unlabelled{name}"] = pseudo_label_loss(found.get("strong"), pseudo[name])  # Eq. 4 and 5

        self.predictions = {"predictor": p[F], AUXILIARY: p[A]}
        self.stats = {
            f"labelled_accuracy{name}": accuracy(found["labelled"], batch.label)
            for name, found in logits.items()
            if "labelled" in found
        }
        for name, labels in pseudo.items():  # of the labels that this network learns from
            self.stats |= {f"{key}{name}": value for key, value in label_statistics(labels, batch.truth).items()}
        if batch.truth is not None:
            sure = p[A].amax(dim=1) >= options.threshold
            self.stats |= {
                f"accuracy_where_auxiliary_is_sure{name}": share_right(p[name], batch.truth, sure) for name in p
            }
        return terms

    def _logits(self, network: Backbone, views: Mapping[Part, View], batch: Batch) -> dict[Part, Tensor]:
        """Logits of a network's views, of those in one pass with shared batch statistics (`strong_pass`).

        The strong clips have none while a pass of their own would weigh nothing. A network without labelled clips
        makes it nevertheless: DDP waits for its gradient.
        """
        joint = [part for part in views if part != "strong" or self.options.strong_pass == "joint"]
        _, groups = joint_forward(network, [batch.clips[views[part]] for part in joint])
        logits = dict(zip(joint, groups, strict=True))
        if self.options.pseudo_label_mode == "eval":
            logits["weak"] = evaluated(network, batch.clips[views["weak"]])
        needed = not self.warming_up(batch.epoch) or "labelled" not in views
        if "strong" in views and "strong" not in logits and needed:
            logits["strong"] = network(batch.clips[views["strong"]])
        return logits

    def weights(self, epoch: float) -> dict[str, float]:
        unlabelled = 0.0 if self.warming_up(epoch) else self.options.lambda_u
        weight = {"labelled": 1.0, "strong": unlabelled}
        return {
            f"{term}{name}": weight[part]
            for name, views in self.seen.items()
            for part, term in TERMS.items()
            if part in views
        }


def auxiliary_model(primary: ModelConfig, auxiliary: Auxiliary) -> ModelConfig:
    """The primary network's settings with the auxiliary one's depth and width.

    Raises UserError for a network that has neither.
    """
    if primary.arch != "resnet3d":
        raise UserError(
            f"key `model.arch`: CMPL makes its auxiliary network from the primary one by depth and width, which "
            f"{primary.arch} does not have; choose resnet3d, or set `options.auxiliary` to {{shared: true}}"
        )
    return primary.model_copy(
        update={"depth": auxiliary.depth or primary.depth, "width": primary.width * auxiliary.width}
    )


def auxiliary_views(config: RunConfig, options: CMPLOptions) -> dict[Part, View]:
    """The primary network's views, as the auxiliary one sees them, without those that feed no loss of it.

    Where both networks see the same frames these are decoded once, and augmented for each where the clips of a video
    have crops of their own. Raises UserError for one network on one clip.
    """
    clip, own = config.clip, int(config.augment.windows == "own")
    elsewhere = {view.stream: options.windows(view.stream, clip.frames, clip.stride) for view in PRIMARY_VIEWS.values()}
    if options.auxiliary.shared and not elsewhere["unlabelled"]:
        raise UserError(
            "key `options.auxiliary.shared`: one network needs two clips to label one for the other; set "
            "`auxiliary_frames` and `auxiliary_stride`, or `time_offset`, or use the method `fixmatch`"
        )
    views = {
        part: view._replace(clip=AUXILIARY) if elsewhere[view.stream] else view._replace(copy=own)
        for part, view in PRIMARY_VIEWS.items()
    }
    if not options.labelled_auxiliary:
        del views["labelled"]
    if not options.unlabelled_auxiliary:
        del views["strong"]
    return views


def label_statistics(pseudo: PseudoLabels, truth: Tensor | None) -> dict[str, Tensor]:
    """`statistics` with `pseudo_correct`, the share of confident and right labels among all clips (Figure 2)."""
    stats = statistics(pseudo, truth)
    if truth is not None:
        stats["pseudo_correct"] = ((pseudo.label == truth) & pseudo.confident).float().mean()
    return stats


def share_right(probabilities: Tensor, truth: Tensor, among: Tensor) -> Tensor:
    """Accuracy of probabilities (B_u, K) on some of the clips (B_u,), as in Figure 6; NaN where there are none."""
    right = probabilities.argmax(dim=1) == truth
    return (right & among).sum() / among.sum()
