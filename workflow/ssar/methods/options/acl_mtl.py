"""Options of ACL + MTL (ACM MM 2024). Values that the paper states stand in ``config/methods/acl_mtl.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from ssar.methods.options.base import MethodOptions, Stream, Window
from ssar.options import NonNegative, Positive, Probability, option


class ACLMTLOptions(MethodOptions):
    """Adaptive Contrastive Learning and Multi-scale Temporal Learning (ACM MM 2024)."""

    # --- basic framework (§3.2, §3.5) ---------------------------------------------------------------
    threshold: Probability = option(
        about="delta of Eq. 2: least confidence of a pseudo-label", source="ACL+MTL §4.2: 0.3"
    )
    ema_decay: Probability = option(
        about="decay of the teacher's weights and heads, per optimiser step",
        source="undefined in ACL+MTL; SVFormer code: 0.99",
    )
    strong_pass: Literal["joint", "own"] = option(
        "joint",
        about="strong clips pass the student with the labelled ones, sharing batch statistics, or by themselves",
        source="undefined in ACL+MTL; ours: joint",
    )
    average_of: Literal["probabilities", "logits"] = option(
        "probabilities", about="what Eq. 19 sums over the short and the long clips", source="ACL+MTL Eq. 1, 19"
    )
    confidence_of: Literal["average", "short"] = option(
        "average",
        about="whose maximum is compared with delta: the prediction that Eq. 19 labels with, or the short clip's",
        source="undefined in ACL+MTL; ours: average",
    )
    alpha: NonNegative = option(
        1.0, about="alpha of Eq. 3, where `reliability_weight` is none", source="undefined in ACL+MTL; ours: 1"
    )
    reliability_weight: Literal["weight", "mask", "none"] = option(
        "none",
        about="what replaces alpha: each clip's gamma, whether gamma > epsilon, or nothing",
        source="ACL+MTL §3.5: gamma",
    )

    # --- adaptive contrastive learning (§3.3) ---------------------------------------------------------
    contrast: Literal["acl", "simclr", "moco", "none"] = option(
        "none", about="contrastive learning of the spatial features", source="ACL+MTL Tables 2 and 3"
    )
    mu2: NonNegative = option(1.0, about="mu_2 of Eq. 20; 0 switches the contrast off", source="ACL+MTL §4.2: 1")
    temperature: float = option(about="tau of Eq. 11", source="ACL+MTL §4.2: 0.07", gt=0)
    epsilon: Probability = option(about="epsilon of Eq. 10: positives have gamma above it", source="ACL+MTL §4.2: 0.7")
    consider_anchor: bool = option(
        True,
        about="a clip whose own gamma is not above epsilon has f^p alone as positive; else Eq. 10 serves all clips",
        source="ACL+MTL §3.3, Table 4; Algorithm 1, line 8, would be false",
    )
    beta: Probability = option(about="beta of Eq. 5: decay of the class prototypes", source="ACL+MTL §3.3: 0.9")
    bank_size: Positive = option(
        about="clips in the memory bank M, and in MoCo's queue", source="undefined in ACL+MTL; ours: 4096"
    )
    bank_of: Literal["all", "confident"] = option(
        "all",
        about="unlabelled clips that enter the bank: all, or those with a confident pseudo-label",
        source="ACL+MTL §3.3: each unlabeled sample",
    )
    least_candidates: Positive = option(
        about="fewest clips with one pseudo-label that a mixture is fitted to",
        source="undefined in ACL+MTL; ours: 5, the free parameters of a mixture",
        ge=2,
    )
    unfitted: Probability = option(
        about="gamma where nothing can be fitted: too few candidates, or a class without prototype",
        source="undefined in ACL+MTL; ours: 0, not reliable",
    )
    iterations: Positive = option(
        about="iterations of expectation-maximisation in Eq. 9", source="undefined in ACL+MTL; ours: 20"
    )
    projection: tuple[Positive, Positive] = option(
        about="widths of the spatial head h: hidden layer and output",
        source="undefined in ACL+MTL; ours: 512, 128, MoCo v2's form",
    )

    # --- multi-scale temporal learning (§3.4) -----------------------------------------------------------
    long_factors: tuple[Positive, ...] = option(
        (), about="strides of the long clips as multiples of `clip.stride`; empty: none", source="ACL+MTL §4.2: 2, 4"
    )
    long_place: Literal["random", "around"] = option(
        "random",
        about="a long clip lies anywhere in the video, or with its middle on the short clip's",
        source="undefined in ACL+MTL; ours: random, as §3.4 samples",
    )
    mu1: NonNegative = option(
        1.0, about="mu_1 of Eq. 20; 0 leaves the long clips to Eq. 19 alone", source="ACL+MTL §4.2: 1"
    )
    attention: Literal["position", "pooled", "pairs"] = option(
        "position",
        about="what A_n of Eq. 13 compares: equal positions, the short clip's mean with each, each with each",
        source="ACL+MTL Eq. 13 names no positions; ours: position",
    )
    student_temperature: float = option(about="tau_s of Eq. 17", source="ACL+MTL §4.2: 0.1", gt=0)
    teacher_temperature: float = option(about="tau_t of Eq. 17", source="ACL+MTL §4.2: 0.04", gt=0)
    centre_decay: Probability | None = option(
        None,
        about="decay of the mean teacher output that is subtracted before its softmax; none: nothing is",
        source="DINO: 0.9; ACL+MTL prints none",
    )
    temporal_projection: tuple[Positive, Positive, Positive] = option(
        about="widths of each temporal head g_n: hidden layer, bottleneck of length one, outputs",
        source="undefined in ACL+MTL; ours: 768, 256, 1024, DINO's form",
    )

    @field_validator("long_factors")
    @classmethod
    def _ascending(cls, factors: tuple[int, ...]) -> tuple[int, ...]:
        """Factors in one order, so that equal settings share a run."""
        if len(set(factors)) < len(factors):
            raise ValueError("`long_factors` names a factor twice")
        return tuple(sorted(factors))

    @property
    def needs_unlabelled(self) -> bool:
        return True

    @property
    def contrasts(self) -> Literal["acl", "simclr", "moco", "none"]:
        """The contrast that weighs something."""
        return self.contrast if self.mu2 > 0 else "none"

    @property
    def exchanges(self) -> bool:
        return self.contrasts == "simclr"

    @property
    def judges(self) -> bool:
        """Whether gamma is read, by the contrast or by the weight of the pseudo-labels."""
        return self.contrasts == "acl" or self.reliability_weight != "none"

    def windows(self, stream: Stream, frames: int, stride: int) -> tuple[Window, ...]:
        """The long clips of unlabelled videos: as many frames as the short one, further apart."""
        if stream == "labelled":
            return ()
        # half of what a long clip covers more than the short one lies before it
        before = {factor: (factor - 1) * stride * (frames - 1) // 2 for factor in self.long_factors}
        return tuple(
            Window(f"long{number}", frames, factor * stride, -before[factor] if self.long_place == "around" else None)
            for number, factor in enumerate(self.long_factors, start=1)
        )
