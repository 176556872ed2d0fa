"""TimeBalance: Temporally-Invariant and Temporally-Distinctive Video Representations (CVPR 2023); its student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ssar.config import RunConfig
from ssar.engine.weights import load_predictor
from ssar.errors import UserError
from ssar.evaluation.scores import read_similarity
from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.distillation import distillation
from ssar.losses.precision import at_least_float32
from ssar.losses.teacher_reweighting import reweighted
from ssar.methods.base import Batch, Method, View, accuracy, joint_forward
from ssar.methods.options import Stream, TimeBalanceOptions
from ssar.models.backbone import Backbone
from ssar.models.build import build
from ssar.models.teacher import Teacher

LABELLED = View("labelled", "rgb", "weak")
UNLABELLED = View("unlabelled", "rgb", "weak")


class TimeBalance(Method):
    """A student f_S of two frozen, fine-tuned teachers: temporally invariant f_I and distinctive f_D.

    L = L_sup + omega L_unsup (Eq. 2): cross-entropy on labelled clips, and on all clips the distance to what the
    teachers say of the same clip, combined by how much the video resembles itself over time.
    """

    predictor: Backbone  # f_S

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.options = cast(TimeBalanceOptions, config.options)
        self.views = (LABELLED, UNLABELLED) if self.options.needs_unlabelled else (LABELLED,)
        self.predictor = build(config.model, num_classes)
        self.teachers = nn.ModuleDict()  # by role; `start` fills it, since their own runs decide what networks they are

    def start(self, upstream: Mapping[str, Path], videos: Mapping[str, Sequence[str]]) -> list[str]:
        """Takes over the teachers and, with reweighting, the score s of every video (Eq. 6) as `score_<stream>`.

        Raises UserError for a part that is missing or does not serve, and for videos without a score.
        """
        remarks = super().start(upstream, videos)
        absent = [role for role in self.options.roles if role not in upstream]
        if absent:
            raise UserError(f"the student needs upstream files for: {', '.join(absent)}")
        device = self.predictor.fc.weight.device
        for role in self.options.teacher_roles:
            self.teachers[role] = Teacher(self._teacher(upstream[role])).to(device)
            remarks.append(f"{role} teacher from {upstream[role]}")
        if self.options.reweighting:
            found = read_similarity(upstream["scores"])
            score = found.projection_score if self.options.score_of == "projection" else found.features_score
            by_path = dict(zip(found.paths.tolist(), score.tolist(), strict=True))
            for view in self.views:
                values = _scores(by_path, videos[view.stream], upstream["scores"]).to(device)
                if self.options.score_range == "clipped":
                    values = values.clamp(0, 1)  # cosines of equal clips are rounded to a little more than 1
                self.register_buffer(f"score_{view.stream}", values)
            remarks.append(f"similarity scores from {upstream['scores']}")
        return remarks

    def _teacher(self, path: Path) -> Backbone:
        """The evaluated network of a fine-tuned run. Raises UserError for one that cannot judge the student's clips."""
        config, classes, network = load_predictor(path)
        if len(classes) != self.num_classes:
            raise UserError(f"{path} knows {len(classes)} classes, the student {self.num_classes}")
        own, its = self.config.augment, config.augment
        if config.options.test_modality != "rgb" or (its.mean, its.std) != (own.mean, own.std):
            raise UserError(
                f"{path} was trained on clips of another modality or normalisation (`augment.mean`, `augment.std`) "
                "than the student, whose clips it has to judge"
            )
        return cast(Backbone, network)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        options = self.options
        if len(self.teachers) != len(options.teacher_roles):
            raise RuntimeError("TimeBalance has no teachers before `start`")
        clips = [batch.clips[view] for view in self.views]
        if options.student_pass == "joint":
            _, groups = joint_forward(self.predictor, clips)
        else:
            groups = [self.predictor(group) for group in clips]
        logits = {view.stream: group for view, group in zip(self.views, groups, strict=True)}
        terms = {"labelled": cross_entropy(logits["labelled"], batch.label)}  # Eq. 4
        self.stats = {"labelled_accuracy": accuracy(logits["labelled"], batch.label)}
        weights = self.weights(batch.epoch)
        for view in self.views:
            name = f"distillation_{view.stream}"
            if name not in weights:
                continue
            # the clip that the student sees, too
            probabilities = {
                role: at_least_float32(teacher(batch.clips[view])).softmax(dim=1)
                for role, teacher in self.teachers.items()
            }
            target = self._combined(probabilities, view.stream, batch)
            terms[name] = distillation(logits[view.stream], target, options.distance, options.reduction)  # Eq. 8
            if view.stream == "unlabelled":
                self._note(logits[view.stream], probabilities, target, batch)
        return terms

    def _combined(self, probabilities: Mapping[str, Tensor], stream: Stream, batch: Batch) -> Tensor:
        """p_T (B, K): Eq. 7 with the videos' scores; with 1/2 (Table 2 f); one teacher alone (Table 2 d, e)."""
        if self.options.reweighting:
            score = self.get_buffer(f"score_{stream}")[batch.video[stream]]
            return reweighted(score, probabilities["invariant"], probabilities["distinctive"])
        return torch.stack(list(probabilities.values())).mean(dim=0)

    def _note(self, logits: Tensor, probabilities: Mapping[str, Tensor], target: Tensor, batch: Batch) -> None:
        """Statistics of the unlabelled clips: which way the teachers lean, and who is right."""
        self.predictions = {"predictor": at_least_float32(logits.detach()).softmax(dim=1)}
        if len(probabilities) == 2:
            first, second = (p.argmax(dim=1) for p in probabilities.values())
            self.stats["teacher_agreement"] = (first == second).float().mean()
        if self.options.reweighting:
            self.stats["score"] = self.get_buffer("score_unlabelled")[batch.video["unlabelled"]].mean()
        if batch.truth is not None:
            self.stats["teacher_accuracy"] = accuracy(target, batch.truth)
            self.stats["student_accuracy"] = accuracy(logits, batch.truth)

    def weights(self, epoch: float) -> dict[str, float]:
        options = self.options
        omega = {"distillation_labelled": options.omega_labelled, "distillation_unlabelled": options.omega_unlabelled}
        if options.teachers == "none":
            return {"labelled": 1.0}
        return {"labelled": 1.0} | {name: weight for name, weight in omega.items() if weight > 0}

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the student and each teacher in place; their dict itself computes nothing."""
        for network in (self.predictor, *self.teachers.values()):
            network.compile(*args, **kwargs)


def _scores(by_path: Mapping[str, float], videos: Sequence[str], path: Path) -> Tensor:
    """The scores (N,) of a stream's videos, in its order."""
    absent = [video for video in videos if video not in by_path]
    if absent:
        raise UserError(
            f"{path} has no similarity score for {len(absent)} of {len(videos)} videos, the first is {absent[0]}; "
            "compute the scores again"
        )
    return torch.tensor([by_path[video] for video in videos], dtype=torch.float32)
