"""Tube TokenMix (SVFormer): two clips' tokens in one, and the loss on what it should be called."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.precision import at_least_float32

Kind = Literal["mse-probabilities", "mse-logits", "ce"]


def tube_mask(clips: int, places: int, alpha: float, per: Literal["batch", "sample"], device: torch.device) -> Tensor:
    """M as bool (clips, places), the same for all frames: true where a clip keeps its own token.

    A share lambda ~ Beta(alpha, alpha) of the places, rounded to whole tokens, is drawn at random: once for the batch,
    or for each clip.
    """
    drawn = 1 if per == "batch" else clips
    share = torch.distributions.Beta(alpha, alpha).sample((drawn,)).to(device)
    kept = (share * places).round()
    rank = torch.rand(drawn, places, device=device).argsort(dim=1).argsort(dim=1)
    return (rank < kept[:, None]).expand(clips, places)


def mix_tokens(tokens: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """x_a M + x_b (1 - M): tokens (B, T, N, D), partners (B,) as places in the batch, mask (B, N), to mixed tokens."""
    return torch.where(mask[:, None, :, None], tokens, tokens[partner])


def mix_labels(label: Tensor, partner: Tensor, mask: Tensor) -> Tensor:
    """lambda y_a + (1 - lambda) y_b, (B, K), lambda being the share of tokens that the mask (B, N) keeps."""
    share = mask.to(label.dtype).mean(dim=1, keepdim=True)
    return share * label + (1 - share) * label[partner]


def confident_one_hot(probabilities: Tensor, threshold: float) -> Tensor:
    """One-hot labels of the clips whose confidence reaches the threshold, the probabilities of the others: (B, K)."""
    confidence, label = probabilities.max(dim=1)
    hard = F.one_hot(label, probabilities.shape[1]).to(probabilities.dtype)
    return torch.where((confidence >= threshold)[:, None], hard, probabilities)


def token_mix_loss(
    logits: Tensor, target: Tensor, weight: Tensor, kind: Kind, reduction: Literal["sum", "mean"]
) -> Tensor:
    """L_mix: how far the student's view of mixed clips is from their mixed labels, a scalar.

    Shapes: logits and target (B, K), weight (B,). The clips' weighted losses are summed and divided by B. The squared
    differences of probabilities or of raw logits are reduced over the classes as `reduction` says; `ce` is
    -sum_k target_k log p_k. No gradient flows to target and weight.
    """
    logits, target = at_least_float32(logits), target.detach()
    if kind == "ce":
        each = F.cross_entropy(logits, target, reduction="none")
    else:
        predicted = logits.softmax(dim=1) if kind == "mse-probabilities" else logits
        squared = (predicted - target).square()
        each = squared.sum(dim=1) if reduction == "sum" else squared.mean(dim=1)
    return (each * weight.detach()).mean()
