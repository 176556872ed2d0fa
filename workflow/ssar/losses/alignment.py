"""Dense alignment of a student's feature maps with a teacher's (LTG §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.precision import at_least_float32

Distance = Literal["l1", "l2", "cosine"]


def distance(student: Tensor, teacher: Tensor, kind: Distance, reduction: Literal["mean", "norm"]) -> Tensor:
    """D of LTG Eq. 8 between feature maps (B, C, T, H, W), a scalar.

    ======  ===========================================  ==============================================
    kind    reduction "mean", as released                reduction "norm", as printed; mean over clips
    ======  ===========================================  ==============================================
    l1      mean |F1 - F2| over all elements             l1 norm of a clip's whole map
    l2      mean (F1 - F2)^2 over all elements           l2 norm of a clip's whole map
    cosine  1 - cos over the channels, mean (t, h, w)    1 - cos of a clip's whole map
    ======  ===========================================  ==============================================

    Eq. 8 prints -cos; the constant 1 changes no gradient and makes equal directions cost 0, as §4.5 says.
    """
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    if reduction == "norm":
        student, teacher = student.flatten(1), teacher.flatten(1)
    if kind == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=1).mean()
    difference = student - teacher
    if reduction == "norm":
        return torch.linalg.vector_norm(difference, ord=1 if kind == "l1" else 2, dim=1).mean()
    return difference.abs().mean() if kind == "l1" else difference.square().mean()


def alignment(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    kind: Distance = "cosine",
    reduction: Literal["mean", "norm"] = "mean",
    block_reduction: Literal["sum", "mean"] = "sum",
    stop_gradient: bool = True,
) -> Tensor:
    """L_kd over the aligned blocks (LTG Eq. 7 and 9), a scalar.

    `student` and `teacher` hold one map (B, C_i, T_i, H_i, W_i) per block. With `stop_gradient` the
    teacher receives no gradient. Eq. 9 leaves open how blocks are reduced; `sum` is as released.
    """
    if stop_gradient:
        teacher = [x.detach() for x in teacher]
    blocks = torch.stack([distance(s, t, kind, reduction) for s, t in zip(student, teacher, strict=True)])
    return blocks.sum() if block_reduction == "sum" else blocks.mean()
