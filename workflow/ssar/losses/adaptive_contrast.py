"""Adaptive contrastive learning (ACL+MTL §3.3): whom a clip is pulled to and pushed from, by how reliable they are.

For B clips and a bank of M places the candidates are columns: 0 is a clip's own f^p, 1 to M are the bank. Features are
of length one; Eq. 11 takes dot products at a temperature that fits cosines.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.mixture import higher_component
from ssar.losses.precision import at_least_float32


def candidates(label: Tensor, bank_label: Tensor, filled: Tensor) -> Tensor:
    """N^+ with a hat, the clips with the same pseudo-label in M and f^p (Eq. 7).

    Shapes: label (B,), bank_label (M,), filled (M,) bool, which places of the bank are in use; result (B, 1 + M) bool.
    """
    same = (label.unsqueeze(1) == bank_label) & filled
    return torch.cat([same.new_ones(len(label), 1), same], dim=1)


def prototype_similarity(own: Tensor, bank: Tensor, prototype: Tensor) -> Tensor:
    """dis(f_i, X) (Eq. 8), the cosine of every column's feature with the clip's prototype.

    Shapes: own f^p (B, D), bank (M, D), prototype of each clip's pseudo-label (B, D); result (B, 1 + M), no gradient.
    """
    # inside autocast the similarities would be multiplied in 16 bits
    with torch.no_grad(), torch.autocast(own.device.type, enabled=False):
        own, bank, prototype = (F.normalize(at_least_float32(x), dim=1) for x in (own, bank, prototype))
        return torch.cat([(own * prototype).sum(dim=1, keepdim=True), prototype @ bank.T], dim=1)


def reliability(
    similarity: Tensor, member: Tensor, seen: Tensor, *, least: int, unfitted: float, iterations: int
) -> Tensor:
    """gamma_i of every candidate (Eq. 9): similarity and member (B, 1 + M) to (B, 1 + M), 0 outside the candidates.

    Where the clip's class has no prototype yet (not `seen`, (B,) bool) or there are fewer than `least` candidates,
    nothing can be fitted and all candidates get `unfitted`.
    """
    fitted = (seen & (member.sum(dim=1) >= least)).unsqueeze(1)
    gamma = higher_component(similarity, member, iterations)
    return torch.where(fitted, gamma, unfitted * member)


def positives(gamma: Tensor, epsilon: float, consider_anchor: bool = True) -> Tensor:
    """N^+ (Eq. 10 and the text below it): gamma (B, 1 + M) to (B, 1 + M) bool.

    The candidates with gamma > epsilon, or f^p alone where its own gamma is not above epsilon. Without
    `consider_anchor` (Table 4, last row; line 8 of Algorithm 1, whose condition always holds) Eq. 10 serves all clips,
    and f^p stands in only where it leaves no positive.
    """
    reliable = gamma > epsilon
    own = torch.zeros_like(reliable)
    own[:, 0] = True
    trusted = reliable[:, 0] if consider_anchor else reliable.any(dim=1)
    return torch.where(trusted.unsqueeze(1), reliable, own)


def adaptive_contrast(
    anchor: Tensor, own: Tensor, bank: Tensor, filled: Tensor, positive: Tensor, temperature: float
) -> Tensor:
    """L_ACL (Eq. 11), mean over the clips, a scalar; gradient flows to the anchors alone.

    Shapes: anchor f^a and own f^p (B, D), bank (M, D), filled (M,) bool, positive N^+ (B, 1 + M) bool with one column
    or more in each row. The negatives are M - N^+, which is all of M where f^p is the only positive.
    """
    # inside autocast the similarities would be multiplied in 16 bits
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, own, bank = (at_least_float32(x) for x in (anchor, own.detach(), bank.detach()))
        similarity = torch.cat([(anchor * own).sum(dim=1, keepdim=True), anchor @ bank.T], dim=1) / temperature
        negative = torch.cat([filled.new_zeros(1), filled])
        attracted = similarity.masked_fill(~positive, -torch.inf).logsumexp(dim=1)
        everything = similarity.masked_fill(~(positive | negative), -torch.inf).logsumexp(dim=1)
        return (everything - attracted).mean()
