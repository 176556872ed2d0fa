"""Pseudo-labels: whose prediction makes them, which are trusted, and the loss on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.precision import at_least_float32

Source = Literal["rgb", "tg", "self", "average"]


class PseudoLabels(NamedTuple):
    """Hard labels of the unlabelled clips, and which of them are in the confident set C."""

    label: Tensor  # (B_u,) int64
    confident: Tensor  # (B_u,) bool


def fused_probabilities(
    logits: Mapping[str, Tensor], source: Source, average_of: Literal["probabilities", "logits"]
) -> dict[str, Tensor]:
    """The class probabilities (B_u, K) that become each modality's pseudo-labels (LTG Eq. 5, Table 3d).

    `logits` holds one (B_u, K) per modality. `average` is the mean of the modalities' probabilities as in
    Eq. 5, or the softmax of their mean logits as in the released code; `self` is each modality's own;
    a modality's name is that one's for all.
    """
    probabilities = {name: at_least_float32(x).softmax(dim=1) for name, x in logits.items()}
    if source == "self":
        return probabilities
    if source != "average":
        fused = probabilities[source]
    elif average_of == "probabilities":
        fused = torch.stack(list(probabilities.values())).mean(dim=0)
    else:
        fused = torch.stack([at_least_float32(x) for x in logits.values()]).mean(dim=0).softmax(dim=1)
    return dict.fromkeys(logits, fused)


def select(probabilities: Tensor, threshold: float) -> PseudoLabels:
    """C = {x_j | max p(x_j) >= threshold}, y_j = argmax p(x_j) (LTG Eq. 2 and 5). No gradient flows.

    Shape: probabilities (B_u, K).
    """
    confidence, label = probabilities.detach().max(dim=1)
    return PseudoLabels(label, confidence >= threshold)


def pseudo_label_loss(logits: Tensor | None, pseudo: PseudoLabels, weight: Tensor | None = None) -> Tensor:
    """L_u = -1/B_u sum_{x_j in C} y_j log f(A(x_j)) (LTG Eq. 3), a scalar; 0 when C is empty.

    The sum over the confident clips is divided by *all* unlabelled clips. Shape: logits (B_u, K); None, where no
    strong clip was passed, gives 0. `weight` (B_u,): a constant factor of each clip (ACL+MTL §3.5).
    """
    if logits is None:
        return torch.zeros((), device=pseudo.label.device)
    each = F.cross_entropy(at_least_float32(logits), pseudo.label, reduction="none")
    each = each * pseudo.confident
    return (each if weight is None else each * weight.detach()).mean()


def statistics(pseudo: PseudoLabels, truth: Tensor | None) -> dict[str, Tensor]:
    """`pseudo_rate`: share of confident clips; `pseudo_accuracy`: share of right labels among them.

    The accuracy is there when `truth` (B_u,) is, and NaN when no clip is confident.
    """
    confident = pseudo.confident.float()
    stats = {"pseudo_rate": confident.mean()}
    if truth is not None:
        stats["pseudo_accuracy"] = ((pseudo.label == truth) * confident).sum() / confident.sum()
    return stats
