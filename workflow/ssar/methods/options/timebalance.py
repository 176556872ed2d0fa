"""Options of TimeBalance (CVPR 2023): fine-tuned teachers and their student."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from ssar.methods.options.base import MethodOptions, SingleStreamOptions, Stage
from ssar.options import NonNegative, option

TEACHERS: dict[str, tuple[str, ...]] = {
    "both": ("invariant", "distinctive"),
    "first": ("invariant",),
    "second": ("distinctive",),
    "none": (),
}
"""The roles that each choice of teachers needs."""


class FinetuneOptions(SingleStreamOptions):
    """Fine-tuning of a pretrained network on the labelled videos."""

    stage: ClassVar[Stage] = "finetune_teacher"

    @property
    def roles(self) -> tuple[str, ...]:
        return ("init",)


class TimeBalanceOptions(MethodOptions):
    """The student of TimeBalance (CVPR 2023)."""

    teachers: Literal["both", "first", "second", "none"] = option(
        "both",
        about="whom the student learns from: the roles invariant (first) and distinctive (second)",
        source="TimeBalance Tables 2, 3",
    )
    combination: Literal["reweighting", "average"] = option(
        "reweighting",
        about="both teachers: weighed by the video's similarity score, or by 1/2 each",
        source="TimeBalance Eq. 7, Table 2",
    )
    score_of: Literal["projection", "features"] = option(
        "projection",
        about="what the similarity score compares: z of the projection head, or the backbone's pooled features",
        source="TimeBalance Eq. 5: z",
    )
    score_range: Literal["printed", "clipped"] = option(
        "printed",
        about="score s as printed, in [-1, 1], which below 0 weighs the invariant teacher negatively; or clipped to "
        "[0, 1]",
        source="TimeBalance Eq. 6, 7",
    )
    distance: Literal["l2", "kl", "js"] = option(
        "l2", about="between the teachers' and the student's probabilities", source="TimeBalance Eq. 8, Table 6"
    )
    reduction: Literal["sum", "mean"] = option(
        "sum",
        about="of the distance over the classes",
        source="undefined in TimeBalance Eq. 8; ours: sum, the square of a vector; TimeBalance code: mean",
    )
    student_pass: Literal["joint", "own"] = option(
        "joint",
        about="labelled and unlabelled clips pass the student together, sharing batch statistics, or by themselves",
        source="undefined in TimeBalance; ours: joint; TimeBalance code: own",
    )
    omega_labelled: NonNegative = option(
        about="omega of Eq. 2 on labelled videos", source="undefined in TimeBalance; ours: 1; TimeBalance code: 50"
    )
    omega_unlabelled: NonNegative = option(
        about="omega of Eq. 2 on unlabelled videos", source="undefined in TimeBalance; ours: 1; TimeBalance code: 100"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TimeBalanceOptions:
        if self.teachers != "none" and self.omega_labelled == self.omega_unlabelled == 0:
            raise ValueError("both omegas are 0, so that no teacher is heard; set `teachers: none`")
        if self.reweighting and self.distance != "l2" and self.score_range == "printed":
            raise ValueError(
                f"`distance: {self.distance}` takes logarithms of the teachers' combination, which a negative score "
                "makes negative; set `score_range: clipped`"
            )
        return self

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        """The teachers in use, by role."""
        return TEACHERS[self.teachers]

    @property
    def reweighting(self) -> bool:
        """Whether the videos' similarity scores are read."""
        return self.teachers == "both" and self.combination == "reweighting"

    @property
    def needs_unlabelled(self) -> bool:
        return self.teachers != "none" and self.omega_unlabelled > 0

    @property
    def roles(self) -> tuple[str, ...]:
        return (*self.teacher_roles, "scores") if self.reweighting else self.teacher_roles
