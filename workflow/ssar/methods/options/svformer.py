"""Options of SVFormer (CVPR 2023). Values from the paper and its code stand in ``config/methods/svformer.yaml``."""

from __future__ import annotations

from typing import Literal

from ssar.methods.options.base import PseudoLabelOptions, Stream, Window
from ssar.options import NonNegative, Positive, Probability, option


class SVFormerOptions(PseudoLabelOptions):
    """SVFormer (CVPR 2023)."""

    ema: Probability = option(
        about="decay of the teacher's weights", source="undefined in ACL+MTL; SVFormer fork: 0.99"
    )
    w_unlabelled: NonNegative = option(about="gamma_1: weight of the pseudo-label loss", source="SVFormer fork: 2")
    w_mix: NonNegative = option(
        about="gamma_2: weight of Tube TokenMix's loss; 0 switches it off", source="SVFormer fork: 2"
    )
    alpha: float = option(about="lambda ~ Beta(alpha, alpha)", source="SVFormer fork: 10", gt=0)
    mix_mask: Literal["batch", "sample"] = option(
        "sample",
        about="one mask for all clips of a batch, or one for each",
        source="undefined in ACL+MTL; ours; SVFormer code: batch",
    )
    mix_label: Literal["soft", "confident-hard"] = option(
        "soft",
        about="what of each clip is mixed: the teacher's probabilities, or its one-hot label where it is confident",
        source="undefined in ACL+MTL; ours; SVFormer code: confident-hard",
    )
    mix_loss: Literal["mse-probabilities", "mse-logits", "ce"] = option(
        "mse-probabilities",
        about="squared distance of the mixed label to probabilities or raw logits, or cross-entropy",
        source="undefined in ACL+MTL; ours; SVFormer code: mse-logits",
    )
    mix_reduction: Literal["sum", "mean"] = option(
        "sum",
        about="squared differences are added or averaged over the classes",
        source="undefined in ACL+MTL; ours; SVFormer code: mean",
    )
    mix_confident: Literal["none", "share"] = option(
        "none",
        about="mixed clips count in full, or by the share of their tokens that comes from confident clips",
        source="undefined in ACL+MTL; ours; SVFormer code: share",
    )
    warp_frames: tuple[Positive, ...] = option(
        (),
        about="temporal warping: how many frames a strong clip keeps, one of these at random; empty: no warping",
        source="SVFormer code: 2, 4 or all of 8",
    )
    warp_fill: Literal["nearest", "random"] = option(
        "nearest",
        about="a dropped frame is replaced by the nearest kept one, or a kept frame gives way to the next one at a "
        "random time between them",
        source="undefined in ACL+MTL; ours; SVFormer code: random",
    )
    strong_clip: Literal["main", "own"] = option(
        "main",
        about="the strong clip shows the weak one's frames, or a random place of the video",
        source="ACL+MTL Eq. 2: one clip; SVFormer code: own",
    )
    evaluate: Literal["student", "teacher"] = option(
        "student", about="the network that is evaluated", source="undefined in ACL+MTL; SVFormer code: student"
    )

    def windows(self, stream: Stream, frames: int, stride: int) -> tuple[Window, ...]:
        if stream == "unlabelled" and self.strong_clip == "own":
            return (Window("strong", frames, stride),)
        return ()
