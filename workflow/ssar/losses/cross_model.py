"""Cross-model pseudo-labels: what two networks learn from on unlabelled clips (CMPL §3.2, Appendix A)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Source = Literal["cross", "self-first", "opposite-first", "maximum", "average"]


def cross_model_probabilities(
    primary: Tensor, auxiliary: Tensor, source: Source, threshold: float
) -> tuple[Tensor, Tensor]:
    """l_F and l_A (CMPL Appendix A): the class probabilities that become the pseudo-labels of F and of A.

    Shapes: `primary` p^F and `auxiliary` p^A (B_u, K), the networks' own probabilities for the weak clips of the same
    videos; both results (B_u, K). `threshold` is tau. A tie of `maximum` goes to F, as printed.
    """
    if source == "cross":  # Eq. 4 and 5
        return auxiliary, primary
    if source == "average":
        mean = (primary + auxiliary) / 2
        return mean, mean
    confidence_f, confidence_a = primary.amax(dim=1, keepdim=True), auxiliary.amax(dim=1, keepdim=True)
    if source == "maximum":
        surer = torch.where(confidence_f >= confidence_a, primary, auxiliary)
        return surer, surer
    f_else_a = torch.where(confidence_f >= threshold, primary, auxiliary)
    a_else_f = torch.where(confidence_a >= threshold, auxiliary, primary)
    return (f_else_a, a_else_f) if source == "self-first" else (a_else_f, f_else_a)
