"""Options of LTG (CVPR 2022). Values that the paper states stand in ``config/methods/ltg.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ssar.methods.options.base import OwnPseudoLabelOptions
from ssar.options import NonNegative, Positive, option


class LTGOptions(OwnPseudoLabelOptions):
    """Learning from Temporal Gradient (CVPR 2022)."""

    pseudo_label: Literal["rgb", "tg", "self", "average"] = option(
        "average",
        about="whose prediction becomes the pseudo-label; `self`: each modality its own",
        source="LTG Table 3d",
    )
    average_of: Literal["probabilities", "logits"] = option(
        "probabilities", about="what `average` averages", source="LTG Eq. 5; the released code averages logits"
    )
    w_fm: NonNegative = option(about="w_fm of Eq. 11", source="LTG §4.2: 0.5")
    lambda_u: NonNegative = option(1.0, about="lambda_u of Eq. 6", source="LTG Eq. 6; value from LTG code")
    w_kd: NonNegative = option(about="w_kd of Eq. 11; 0 switches the alignment off", source="LTG §4.2: 1")
    w_clr: NonNegative = option(about="w_clr of Eq. 11; 0 switches the contrast off", source="LTG §4.2: 1")
    blocks: tuple[int, ...] = option((1, 2, 3, 4), about="aligned residual stages", source="LTG Table 3e")
    block_reduction: Literal["sum", "mean"] = option(
        "sum", about="how the stages' alignment losses are reduced", source="undefined in Eq. 9; LTG code: sum"
    )
    distance: Literal["l1", "l2", "cosine"] = option("cosine", about="D of Eq. 8", source="LTG Table 3b")
    distance_reduction: Literal["mean", "norm"] = option(
        "mean",
        about="l1, l2: mean over all elements, or the norm as printed; cosine: of each position, or of the whole map",
        source="LTG Eq. 8 writes norms of the map; LTG code: means, cosine per (t, h, w)",
    )
    stop_gradient: bool = option(True, about="no gradient of the alignment to the TG network", source="LTG Table 3c")
    temperature: float = option(0.5, about="tau of Eq. 10", source="LTG Table 3g", gt=0)
    projected: Literal["contrasted", "all"] = option(
        "contrasted",
        about="clips that the projection heads see, whose batch statistics they share: those of the contrast, or all "
        "of the pass, the strong ones, too",
        source="LTG §3.4; LTG code: all",
    )
    projection: tuple[Positive, Positive, Positive] = option(
        (512, 512, 512), about="widths of the 3-layer projection head", source="LTG code"
    )

    @field_validator("blocks")
    @classmethod
    def _ascending(cls, blocks: tuple[int, ...]) -> tuple[int, ...]:
        """Blocks in one order, so that equal settings share a run."""
        return tuple(sorted(blocks))

    @model_validator(mode="after")
    def _something_to_align(self) -> LTGOptions:
        if self.w_kd > 0 and not self.blocks:
            raise ValueError("`blocks` is empty while `w_kd` is not 0; set `w_kd: 0` to switch the alignment off")
        return self

    @property
    def modalities(self) -> frozenset[str]:
        return frozenset({"rgb", "tg"})

    @property
    def aligned_blocks(self) -> tuple[int, ...]:
        return self.blocks if self.w_kd > 0 else ()

    @property
    def exchanges(self) -> bool:
        return self.w_clr > 0
