"""Options of the self-supervised pretraining that TimeBalance (CVPR 2023) starts with.

Values that the paper states stand in ``config/methods/timebalance_ssl.yaml``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from ssar.methods.options.base import MethodOptions, Stage, Stream, Window
from ssar.options import NonNegative, Positive, option

GLOBAL = "global"
"""The window that lasts as long as all consecutive clips together (D.2)."""


class SelfSupervisedOptions(MethodOptions):
    """What pretraining methods share: they read unlabelled videos and nothing else."""

    stage: ClassVar[Stage] = "pretrain_teacher"
    needs_labelled: ClassVar[bool] = False

    @property
    def needs_unlabelled(self) -> bool:
        return True


class PretrainingOptions(SelfSupervisedOptions):
    """Self-supervised pretraining on n consecutive clips (TimeBalance §3.1): L = sum of the weighted terms.

    The invariant teacher f_I has L_I alone, the distinctive f_D has L_D1 and L_D2, the student's start all three.
    """

    w_invariant: NonNegative = option(about="weight of L_I; 0 switches it off", source="TimeBalance Eq. 1: 1 or 0")
    w_distinctive: NonNegative = option(about="weight of L_D1; 0 switches it off", source="TimeBalance Eq. 3: 1 or 0")
    w_unpooled: NonNegative = option(about="weight of L_D2; 0 switches it off", source="TimeBalance D.2: 1 or 0")
    clips: int = option(about="n: consecutive clips of a video", source="TimeBalance Table 5: 4", ge=2)
    temperature: float = option(about="tau", source="TimeBalance §4.2: 0.1", gt=0)
    projection: tuple[Positive, Positive] = option(
        about="widths of the projection head: hidden, output", source="TimeBalance B.1.2: 512, 128; code: 128, 128"
    )
    denominator: Literal["printed", "with-positive", "negatives"] = option(
        "printed",
        about="printed: positive beside the negatives in L_I and L_D2, not in L_D1; or in all, or in none",
        source="TimeBalance Eq. 1, Eq. 3; undefined for L_D2; TimeBalance code: in all",
    )
    reduction: Literal["sum", "mean"] = option(
        "sum", about="how a video's pairs are reduced; videos are averaged", source="TimeBalance Eq. 1, Eq. 3"
    )
    invariant_copies: Literal[1, 2] = option(
        1,
        about="augmentations of each clip in L_I; with 2 a clip and its copy are a pair, too",
        source="TimeBalance §3.1: 1; code: 2",
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> PretrainingOptions:
        if not (self.w_invariant or self.w_distinctive or self.w_unpooled):
            raise ValueError("`w_invariant`, `w_distinctive` and `w_unpooled` are all 0: there is nothing to learn")
        return self

    @property
    def clip_names(self) -> tuple[str, ...]:
        """The n consecutive clips x_1 ... x_n, in time."""
        return ("main", *(f"clip{number}" for number in range(1, self.clips)))

    @property
    def copies(self) -> int:
        """Augmentations of each clip that are needed."""
        return 2 if self.w_distinctive or self.w_unpooled else self.invariant_copies

    @property
    def exchanges(self) -> bool:
        return self.w_invariant > 0

    def windows(self, stream: Stream, frames: int, stride: int) -> tuple[Window, ...]:
        if stream == "labelled":
            return ()
        consecutive = tuple(
            Window(name, frames, stride, shift=number * frames * stride) for number, name in enumerate(self.clip_names)
        )[1:]
        long = Window(GLOBAL, frames, self.clips * stride, shift=0)
        return (*consecutive, long) if self.w_unpooled else consecutive


class RotationOptions(SelfSupervisedOptions):
    """Rotation prediction (3DRotNet)."""
