"""Cross-entropy between a teacher's and a student's softened outputs (ACL+MTL Eq. 16 to 18, after DINO)."""

from __future__ import annotations

import torch
from torch import Tensor

from ssar.losses.precision import at_least_float32


def targets(teacher: Tensor, temperature: float, centre: Tensor) -> Tensor:
    """P^k = softmax((z^k - centre) / tau_t), the centre being DINO's and 0 in the paper. No gradient.

    Shapes: teacher z^k (B, D), centre (D,); result (B, D).
    """
    return ((at_least_float32(teacher.detach()) - centre) / temperature).softmax(dim=1)


def self_distillation(student: Tensor, target: Tensor, temperature: float) -> Tensor:
    """L_n = H(P^k, P^q) (Eq. 17), mean over the clips, a scalar; gradient flows to the student.

    Shapes: student z^q (B, D), target P^k (B, D). H(a, b) is the cross-entropy -sum a log b of DINO; the printed
    -log b leaves out what the other distribution does.
    """
    with torch.autocast(student.device.type, enabled=False):
        log_probabilities = (at_least_float32(student) / temperature).log_softmax(dim=1)
        return -(target.detach() * log_probabilities).sum(dim=1).mean()


def entropy(distributions: Tensor) -> Tensor:
    """Mean entropy in nats of distributions (B, D), a scalar: 0 where each chooses one output."""
    return -(distributions * distributions.clamp(min=torch.finfo(distributions.dtype).tiny).log()).sum(dim=1).mean()
