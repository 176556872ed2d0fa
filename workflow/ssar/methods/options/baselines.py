"""Options of the baselines that need no paper of their own here: Pseudo-Label, Mean Teacher, MvPL."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ssar.methods.options.base import OwnPseudoLabelOptions, SingleStreamOptions
from ssar.options import NonNegative, Probability, option

MODALITIES = ("rgb", "tg", "flow")


class PseudoLabelBaselineOptions(SingleStreamOptions):
    """Pseudo-Label (Lee, ICML workshop 2013)."""

    alpha_f: NonNegative = option(about="alpha_f of Eq. 16: final weight of the pseudo-label loss", source="Lee §3: 3")
    ramp: tuple[NonNegative, NonNegative] = option(
        about="T_1 and T_2 of Eq. 16 in epochs: the weight is 0 before the first, alpha_f from the second on",
        source="Lee §3: 100 and 600",
    )
    threshold: Probability = option(
        0.0, about="least confidence of a pseudo-label; 0 takes every one", source="Lee Eq. 14 takes every one"
    )

    @field_validator("ramp")
    @classmethod
    def _forward(cls, ramp: tuple[float, float]) -> tuple[float, float]:
        if ramp[1] < ramp[0]:
            raise ValueError(f"the ramp ends at epoch {ramp[1]}, before it begins at epoch {ramp[0]}")
        return ramp

    @property
    def needs_unlabelled(self) -> bool:
        return True


class MeanTeacherOptions(SingleStreamOptions):
    """Mean Teacher (Tarvainen and Valpola, NeurIPS 2017)."""

    w_consistency: NonNegative = option(
        about="largest weight of the consistency cost J of Eq. 1", source="Mean Teacher code: 100 and parts of it"
    )
    reduction: Literal["sum", "mean"] = option(
        "sum",
        about="the squared distance of two predictions is summed over the classes, or averaged",
        source="Mean Teacher Eq. 1: squared norm; Mean Teacher code: mean",
    )
    rampup_epochs: NonNegative = option(
        about="epochs until the consistency cost has its weight and the teacher its final decay",
        source="Mean Teacher §3.1: a ramp-up phase",
    )
    ema_decay_rampup: Probability = option(
        about="alpha of Eq. 2 during the ramp-up, while the student improves fast", source="Mean Teacher §3.1: 0.99"
    )
    ema_decay: Probability = option(about="alpha of Eq. 2 after it", source="Mean Teacher §3.1: 0.999")
    student_view: Literal["weak", "strong"] = option(
        "weak",
        about="the student's view of unlabelled clips: a second draw of the teacher's augmentation, or the strong one",
        source="Mean Teacher §2: the same kind of noise for both",
    )
    student_pass: Literal["joint", "own"] = option(
        "joint",
        about="labelled and unlabelled clips pass the student together, sharing batch statistics, or by themselves",
        source="Mean Teacher code: joint",
    )

    @property
    def needs_unlabelled(self) -> bool:
        return True


class MvPLOptions(OwnPseudoLabelOptions):
    """Multiview Pseudo-Labeling (Xiong et al., ICCV 2021)."""

    views: tuple[Literal["rgb", "tg", "flow"], ...] = option(
        about="modalities that the one network learns from; rgb, which is evaluated, is among them",
        source="MvPL: all three; LTG Table 2: rgb and tg",
    )
    fusion: Literal["average", "self", "random"] = option(
        "average",
        about="whose prediction becomes a view's pseudo-label: the mean of all, its own, or that of another view, "
        "drawn for each clip",
        source="MvPL compares them",
    )
    average_of: Literal["probabilities", "logits"] = option(
        "probabilities", about="what `fusion: average` averages", source="MvPL; LTG code: logits"
    )
    view_pass: Literal["joint", "own"] = option(
        "joint",
        about="the views pass the network together, sharing batch statistics, or each by itself",
        source="undefined in MvPL; LTG code: joint",
    )
    lambda_u: NonNegative = option(1.0, about="weight of the loss on pseudo-labels", source="LTG code: 1")

    @field_validator("views")
    @classmethod
    def _known_order(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        """Views in one order, so that equal settings share a run."""
        if len(set(views)) < len(views):
            raise ValueError(f"a view is named twice: {', '.join(views)}")
        if "rgb" not in views:
            raise ValueError("`rgb` is missing: the network is evaluated on it")
        return tuple(sorted(views, key=MODALITIES.index))

    @model_validator(mode="after")
    def _another_view(self) -> MvPLOptions:
        if self.fusion == "random" and len(self.views) == 1:
            raise ValueError("`fusion: random` takes the label from another view, and there is one view only")
        return self

    @property
    def modalities(self) -> frozenset[str]:
        return frozenset(self.views)
