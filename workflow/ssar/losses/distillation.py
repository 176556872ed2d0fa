"""Distillation: how far a student's class probabilities are from a target distribution (TimeBalance Eq. 8, Table 6)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ssar.losses.precision import at_least_float32

Distance = Literal["l2", "kl", "js"]
Reduction = Literal["sum", "mean"]


def distillation(logits: Tensor, target: Tensor, distance: Distance, reduction: Reduction) -> Tensor:
    """L_unsup between a student's logits (B, K) and the teachers' probabilities p_T (B, K): mean over clips, a scalar.

    With p_S = softmax(logits) and M = (p_T + p_S) / 2 the contribution of class c is

    ========  ==================================================================  =================
    distance  of class c                                                          source
    ========  ==================================================================  =================
    l2        (p_T - p_S)^2                                                       TimeBalance Eq. 8
    kl        p_T log(p_T / p_S)                                                  Table 6
    js        half of p_T log(p_T / M) + p_S log(p_S / M)                         Table 6
    ========  ==================================================================  =================

    which `reduction` sums or averages over the classes. The target gets no gradient. kl and js take logarithms of it:
    it has to be a distribution there, while l2 takes any combination of the teachers.
    """
    target, logits = at_least_float32(target.detach()), at_least_float32(logits)
    classes = _BY_CLASS[distance](target, logits.log_softmax(dim=1))
    each = classes.sum(dim=1) if reduction == "sum" else classes.mean(dim=1)
    return each.mean()


def _l2(target: Tensor, log_student: Tensor) -> Tensor:
    return (target - log_student.exp()).square()


def _kl(target: Tensor, log_student: Tensor) -> Tensor:
    # xlogy: a class that the teachers rule out costs nothing
    return torch.xlogy(target, target) - target * log_student


def _js(target: Tensor, log_student: Tensor) -> Tensor:
    # in logarithms throughout: a probability that underflows would have an infinite gradient
    log_middle = torch.logaddexp(target.log(), log_student) - math.log(2)
    of_target = torch.xlogy(target, target) - target * log_middle
    of_student = log_student.exp() * (log_student - log_middle)
    return (of_target + of_student) / 2


_BY_CLASS = {"l2": _l2, "kl": _kl, "js": _js}
