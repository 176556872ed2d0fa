"""ACL + MTL (MM 2024): adaptive contrast and multi-scale temporal learning on a mean teacher, for video."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssar.config import RunConfig
from ssar.exchange import gathered
from ssar.losses.adaptive_contrast import (
    adaptive_contrast,
    candidates,
    positives,
    prototype_similarity,
    reliability,
)
from ssar.losses.calibration import calibrated
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.instance_contrast import nt_xent, queue_info_nce
from ssar.losses.precision import at_least_float32
from ssar.losses.pseudo_label import PseudoLabels, fused_probabilities, pseudo_label_loss, select, statistics
from ssar.losses.self_distillation import entropy, self_distillation, targets
from ssar.methods.base import Batch, Method, View, accuracy, evaluated_all
from ssar.methods.options import ACLMTLOptions
from ssar.models.backbone import Backbone, Features
from ssar.models.build import build
from ssar.models.memory import MemoryBank, Prototypes
from ssar.models.teacher import Teacher, average

LABELLED = View("labelled", "rgb", "weak")
WEAK = View("unlabelled", "rgb", "weak")
STRONG = View("unlabelled", "rgb", "strong")
SHORT = "short"

M = TypeVar("M", bound=nn.Module)


class Seen(NamedTuple):
    """What a network makes of one group of clips."""

    map: Tensor  # (B, C, T, H, W): the last stage
    pooled: Tensor  # (B, C)
    logits: Tensor  # (B, K)


def one_pass(forward: Callable[[Tensor], Features], groups: Mapping[str, Tensor]) -> dict[str, Seen]:
    """One pass over several groups of clips of one shape, parted again."""
    sizes = [len(clips) for clips in groups.values()]
    found = forward(torch.cat(list(groups.values())))
    parts = (x.split(sizes) for x in (found.stages[-1], found.pooled, found.logits))
    return {name: Seen(*part) for name, part in zip(groups, zip(*parts, strict=True), strict=True)}


def spatial_head(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """h_s: two linear layers, without normalisation, since a batch may be a single clip."""
    hidden, outputs = widths
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))


class TemporalHead(nn.Module):
    """g_n in DINO's form: an MLP to a bottleneck of length one, then its cosines with learned directions.

    The temperatures of Eq. 17 are DINO's, which are made for cosines.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        hidden, bottleneck, outputs = widths
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.directions = nn.Parameter(torch.randn(outputs, bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to cosines (B, outputs)."""
        # inside autocast the cosines would be in 16 bits
        x = at_least_float32(self.layers(x))
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(F.normalize(x, dim=1), F.normalize(self.directions, dim=1))


def follower(module: M) -> M:
    """A copy without gradients, to be moved by `average`."""
    return copy.deepcopy(module).requires_grad_(False)


class ACLMTL(Method):
    """A student and its moving average, with a contrast and a distillation of the student's features.

    L = L_l + gamma L_u + mu_1 L_MTL + mu_2 L_ACL (Eq. 20). The student is evaluated.
    """

    centre: Tensor  # (N, D): what is subtracted from the teacher's temporal outputs
    predictor: Backbone  # F_theta_s, of which f_theta_s is the part before the classifier

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        options = self.options = cast(ACLMTLOptions, config.options)
        windows = options.windows("unlabelled", config.clip.frames, config.clip.stride)
        self.long = {window.name: View("unlabelled", "rgb", "weak", window.name) for window in windows}
        self.views = (LABELLED, WEAK, STRONG, *self.long.values())
        self.predictor = build(config.model, num_classes)
        self.teacher = Teacher.of(self.predictor)
        self.followers: list[tuple[nn.Module, nn.Module]] = []  # (moving average, of what)
        self.bank: MemoryBank | None = None
        self.prototypes: Prototypes | None = None
        width = self.predictor.width
        # no head without a term that trains it: DDP wants a gradient for every parameter. Without a contrast gamma is
        # therefore read off the encoder's features
        self.spatial: nn.Module = nn.Identity()  # h_s
        if options.contrasts != "none":
            self.spatial = spatial_head(width, options.projection)
            width = options.projection[1]
        self.spatial_teacher = follower(self.spatial)  # h_t
        self.followers.append((self.spatial_teacher, self.spatial))
        if options.judges or options.contrasts == "moco":
            self.bank = MemoryBank(options.bank_size, width)
        if options.judges:
            self.prototypes = Prototypes(num_classes, width, options.beta)
        self.calibrates = bool(self.long) and options.mu1 > 0
        if self.calibrates:
            # in the order of `long`; the last map has as many channels as the pooled features
            self.temporal = nn.ModuleList(
                TemporalHead(self.predictor.width, options.temporal_projection) for _ in windows
            )
            self.temporal_teacher = follower(self.temporal)
            self.followers.append((self.temporal_teacher, self.temporal))
            # zero and unmoved where nothing is centred
            self.register_buffer("centre", torch.zeros(len(windows), options.temporal_projection[-1]))
        self.to_bank: list[tuple[Tensor, Tensor]] = []  # (f^p, pseudo-label or -1) of each micro-batch of this step
        self.to_prototypes: list[tuple[Tensor, Tensor]] = []  # (f^l, label)
        self.to_centre: list[Tensor] = []  # mean teacher outputs (N, D)

    def start(self, upstream: Mapping[str, Path], videos: Mapping[str, Sequence[str]]) -> list[str]:
        """See the base class; the teacher takes the weights that the student starts from."""
        remarks = super().start(upstream, videos)
        self.teacher.follow(self.predictor, 0.0)
        return remarks

    # --- the objective --------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options = self.options
        student = self._student(batch)
        clips = {SHORT: batch.clips[WEAK]} | {name: batch.clips[view] for name, view in self.long.items()}
        teacher = one_pass(self.teacher.forward_all, clips)
        pseudo = self._pseudo_labels(teacher)
        self.stats = {"labelled_accuracy": accuracy(student["labelled"].logits, batch.label)}
        self.stats |= statistics(pseudo, batch.truth)

        own = self._key(teacher[SHORT].pooled)  # f^p
        gamma = self._gamma(own, pseudo.label)
        terms = {
            "labelled": cross_entropy(student["labelled"].logits, batch.label),  # Eq. 1
            "unlabelled": pseudo_label_loss(  # Eq. 2
                student["strong"].logits, pseudo, self._pseudo_label_weight(pseudo, gamma)
            ),
        }
        if options.contrasts != "none":
            terms["contrast"] = self._contrast(student, own, gamma)
        if self.calibrates:
            terms["mtl"] = self._mtl(student["strong"].map, clips[SHORT], teacher)
        self._remember(student["labelled"], batch.label, own, pseudo)
        return terms

    def weights(self, epoch: float) -> dict[str, float]:
        options = self.options
        alpha = options.alpha if options.reliability_weight == "none" else 1.0
        weights = {"labelled": 1.0, "unlabelled": 0.0 if self.warming_up(epoch) else alpha}
        if options.contrasts != "none":
            weights["contrast"] = options.mu2
        if self.calibrates:
            weights["mtl"] = options.mu1
        return weights

    def _student(self, batch: Batch) -> dict[str, Seen]:
        """The passes that a gradient flows through."""
        groups = {"labelled": batch.clips[LABELLED]}
        if self.options.contrasts == "simclr":
            groups["weak"] = batch.clips[WEAK]  # both views of SimCLR are the one encoder's
        strong = {"strong": batch.clips[STRONG]}
        forward = self.predictor.forward_all
        if self.options.strong_pass == "joint":
            return one_pass(forward, groups | strong)
        return one_pass(forward, groups) | one_pass(forward, strong)

    def _pseudo_labels(self, teacher: Mapping[str, Seen]) -> PseudoLabels:
        """Eq. 19: the average over the short and the long clips, and whether it is confident (Eq. 2)."""
        logits = {name: seen.logits for name, seen in teacher.items()}
        probabilities = fused_probabilities(logits, "average", self.options.average_of)[SHORT]
        self.predictions = {"teacher": probabilities}
        pseudo = select(probabilities, self.options.threshold)
        if self.options.confidence_of == "short":
            short = at_least_float32(logits[SHORT]).softmax(dim=1)
            return pseudo._replace(confident=select(short, self.options.threshold).confident)
        return pseudo

    # --- adaptive contrastive learning ----------------------------------------------------------------

    def _query(self, pooled: Tensor) -> Tensor:
        """h_s on pooled features (B, C), of length one (Eq. 4 and the first line of Eq. 6)."""
        return F.normalize(at_least_float32(self.spatial(pooled)), dim=1)

    @torch.no_grad()
    def _key(self, pooled: Tensor) -> Tensor:
        """h_t on pooled features (B, C), of length one (the second line of Eq. 6)."""
        return F.normalize(at_least_float32(self.spatial_teacher(pooled)), dim=1)

    def _gamma(self, own: Tensor, label: Tensor) -> Tensor | None:
        """gamma (B, 1 + M) of each clip's f^p and of the bank's clips with its pseudo-label (Eq. 7 to 9), if wanted."""
        options, bank, prototypes = self.options, self.bank, self.prototypes
        if bank is None or prototypes is None:
            return None
        gamma = reliability(
            prototype_similarity(own, bank.features, prototypes.value[label]),
            candidates(label, bank.label, bank.filled),
            prototypes.seen[label],
            least=options.least_candidates,
            unfitted=options.unfitted,
            iterations=options.iterations,
        )
        self.stats["reliability"] = gamma[:, 0].mean()
        self.stats["reliable_rate"] = (gamma[:, 0] > options.epsilon).float().mean()
        self.stats["positives"] = (gamma > options.epsilon).float().sum(dim=1).mean()
        return gamma

    def _pseudo_label_weight(self, pseudo: PseudoLabels, gamma: Tensor | None) -> Tensor:
        """The weight (B,) of each clip in L_u: its gamma, gamma > epsilon, or 1 (§3.5)."""
        if gamma is None or self.options.reliability_weight == "none":
            return torch.ones(pseudo.label.shape, device=pseudo.label.device)
        own = gamma[:, 0]
        return own if self.options.reliability_weight == "weight" else (own > self.options.epsilon).float()

    def _contrast(self, student: Mapping[str, Seen], own: Tensor, gamma: Tensor | None) -> Tensor:
        """L_ACL (Eq. 11), or what Table 3 has in its place."""
        options = self.options
        anchor = self._query(student["strong"].pooled)  # f^a
        if options.contrasts == "simclr":
            return nt_xent(anchor, self._query(student["weak"].pooled), options.temperature)
        assert self.bank is not None  # the two others have one
        features, filled = self.bank.features, self.bank.filled
        if options.contrasts == "moco" or gamma is None:
            return queue_info_nce(anchor, own, features, filled, options.temperature)
        positive = positives(gamma, options.epsilon, options.consider_anchor)  # Eq. 10
        return adaptive_contrast(anchor, own, features, filled, positive, options.temperature)

    def _remember(self, labelled: Seen, label: Tensor, own: Tensor, pseudo: PseudoLabels) -> None:
        """Keep what the bank and the prototypes are to take after the step."""
        if self.prototypes is not None:
            self.to_prototypes.append((self._query(labelled.pooled.detach()).detach(), label))
        if self.bank is not None:
            confident = self.options.bank_of == "confident"
            self.to_bank.append((own, pseudo.label.where(pseudo.confident, -1) if confident else pseudo.label))

    # --- multi-scale temporal learning ----------------------------------------------------------------

    def _mtl(self, strong: Tensor, weak: Tensor, teacher: Mapping[str, Seen]) -> Tensor:
        """L_MTL (Eq. 12 to 18) from the student's strong map, the weak short clips and the teacher's maps."""
        options = self.options
        # f^q: no gradient, it only shapes the teacher's target. After the passes with gradient: autocast keeps the
        # weights that it cast, and those that it cast without gradient would stay so
        query = evaluated_all(self.predictor, weak).stages[-1]
        short = strong.mean(dim=(2, 3, 4))  # f^q*, pooled as f^k* is
        losses, outputs, chosen = [], [], []
        for name, head, following, centre in zip(
            self.long, self.temporal, self.temporal_teacher, self.centre, strict=True
        ):
            with torch.no_grad():
                key = calibrated(query, teacher[name].map, options.attention).mean(dim=(2, 3, 4))  # f^k*
                z = following(key)
                target = targets(z, options.teacher_temperature, centre)
            outputs.append(z.mean(dim=0))
            chosen.append(entropy(target))
            losses.append(self_distillation(head(short), target, options.student_temperature))
        self.to_centre.append(torch.stack(outputs))
        self.stats["mtl_entropy"] = torch.stack(chosen).mean()
        return torch.stack(losses).mean()

    # --- what lasts -----------------------------------------------------------------------------------

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the teacher, and let bank, prototypes and centre take what all shares saw in this step."""
        self.teacher.follow(self.predictor, self.options.ema_decay)
        for following, followed in self.followers:
            average(following, followed, self.options.ema_decay)
        if self.prototypes is not None and self.to_prototypes:
            self.prototypes.update(*_gathered(self.to_prototypes))
        if self.bank is not None and self.to_bank:
            self.bank.add(*_gathered(self.to_bank))
        if self.to_centre and self.options.centre_decay is not None:
            scales = self.to_centre[0].shape
            mean = gathered(self.to_centre).view(-1, *scales).mean(dim=0)
            self.centre.lerp_(mean, 1 - self.options.centre_decay)
        self.to_prototypes, self.to_bank, self.to_centre = [], [], []


def _gathered(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Features and labels of all shares of a step, in their order."""
    features, labels = zip(*pairs, strict=True)
    return gathered(features), gathered(labels)
