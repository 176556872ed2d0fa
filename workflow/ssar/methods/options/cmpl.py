"""Options of CMPL (CVPR 2022). Values that the paper states stand in ``config/methods/cmpl.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ssar.methods.options.base import OwnPseudoLabelOptions, Stream, Window
from ssar.options import Closed, NonNegative, Positive, Probability, option

AUXILIARY = "auxiliary"
"""Name of the window that the auxiliary network sees."""


class Auxiliary(Closed):
    """The auxiliary network A, as differences from the primary one F, which `model` describes."""

    depth: Literal[10, 18, 34, 50] | None = option(
        None, about="number of weighted layers; none: as the primary network", source="CMPL Table 3"
    )
    width: float = option(1.0, about="multiplier of the primary network's channels", source="CMPL Table 3", gt=0)
    shared: bool = option(
        False,
        about="A is F itself: it labels one clip of a video for the other, which is FixMatch with two clips",
        source="CMPL Table 3: the auxiliary `Primary`",
    )

    @model_validator(mode="after")
    def _one_network(self) -> Auxiliary:
        if self.shared and (self.depth is not None or self.width != 1):
            raise ValueError("`shared` networks are one: leave `depth` and `width` out")
        return self


class CMPLOptions(OwnPseudoLabelOptions):
    """Cross-Model Pseudo-Labeling (CVPR 2022)."""

    threshold: Probability = option(
        about="tau of Eq. 4 and 5: least confidence of a pseudo-label", source="CMPL §4.1: 0.9"
    )
    lambda_u: float = option(about="lambda of Eq. 6", source="CMPL §4.1: 5 with 1 %, 2 with 10 % labels", gt=0)
    label_source: Literal["cross", "self-first", "opposite-first", "maximum", "average"] = option(
        "cross", about="whose prediction becomes each network's pseudo-label", source="CMPL Table A2, Appendix A"
    )
    labelled_auxiliary: bool = option(True, about="whether A learns from labels, L_s^A of Eq. 3", source="CMPL Table 6")
    unlabelled_auxiliary: bool = option(
        True, about="whether A learns from pseudo-labels, L_u^A of Eq. 5", source="CMPL Table 6"
    )
    auxiliary: Auxiliary = option(about="the auxiliary network", source="CMPL §3.3")
    auxiliary_frames: Positive | None = option(
        None, about="frames of the auxiliary network's clip; none: as `clip.frames`", source="CMPL Table 4"
    )
    auxiliary_stride: Positive | None = option(
        None, about="distance between them; none: as `clip.stride`", source="CMPL Table 4"
    )
    time_offset: NonNegative = option(
        0.0,
        about="t_s: seconds between the starts of the two networks' clips of an unlabelled video; 0 is none",
        source="CMPL §3.3, Table 5; its unit is undefined in CMPL",
    )
    fps: float = option(
        30.0, about="frames per second that turn `time_offset` into frames", source="undefined in CMPL; ours", gt=0
    )

    @model_validator(mode="after")
    def _auxiliary_learns(self) -> CMPLOptions:
        if not (self.labelled_auxiliary or self.unlabelled_auxiliary):
            raise ValueError(
                "an auxiliary network without `labelled_auxiliary` and `unlabelled_auxiliary` learns nothing; "
                "the method without one is `fixmatch`"
            )
        return self

    def windows(self, stream: Stream, frames: int, stride: int) -> tuple[Window, ...]:
        """The auxiliary network's clip; none where it is that of the primary one.

        In labelled videos, whose labels hold for any clip, and without a time offset both clips start together.
        """
        shift = round(self.time_offset * self.fps) if stream == "unlabelled" else 0
        window = Window(
            AUXILIARY, self.auxiliary_frames or frames, self.auxiliary_stride or stride, shift, either_way=shift > 0
        )
        return () if (window.frames, window.stride, window.shift) == (frames, stride, 0) else (window,)
