"""Distillation and teacher reweighting against loops written from TimeBalance's equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ssar.losses.distillation import Distance, Reduction, distillation
from ssar.losses.teacher_reweighting import reweighted, similarity_score, temporal_similarity

DISTANCES: tuple[Distance, ...] = ("l2", "kl", "js")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def softmax_loop(logits: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def kl_loop(p: list[float], q: list[float]) -> list[float]:
    """The classes' contributions to KL(p || q), with 0 log 0 = 0."""
    return [a * math.log(a / b) if a > 0 else 0.0 for a, b in zip(p, q, strict=True)]


def distance_loop(target: list[float], student: list[float], distance: Distance) -> list[float]:
    """The classes' contributions to the distance of one clip."""
    if distance == "l2":  # Eq. 8
        return [(t - s) ** 2 for t, s in zip(target, student, strict=True)]
    if distance == "kl":
        return kl_loop(target, student)
    middle = [(t + s) / 2 for t, s in zip(target, student, strict=True)]
    return [(a + b) / 2 for a, b in zip(kl_loop(target, middle), kl_loop(student, middle), strict=True)]


# --- Eq. 8 and Table 6 ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_those_of_the_paper(distance: Distance, reduction: Reduction, batch: int) -> None:
    logits, target = random(batch, 5, seed=1), random(batch, 5, seed=2).softmax(dim=1)
    expected = 0.0
    for i in range(batch):
        classes = distance_loop(target[i].tolist(), softmax_loop(logits[i].tolist()), distance)
        expected += sum(classes) / (5 if reduction == "mean" else 1) / batch
    assert distillation(logits, target, distance, reduction).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_student_that_agrees_costs_nothing_and_learns_nothing(distance: Distance) -> None:
    logits = random(3, 4).requires_grad_()
    loss = distillation(logits, logits.detach().softmax(dim=1), distance, "sum")
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad is not None
    assert logits.grad.abs().max().item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_only_the_student_gets_gradient(distance: Distance) -> None:
    logits, teacher = random(3, 4, seed=1).requires_grad_(), random(3, 4, seed=2).requires_grad_()
    distillation(logits, teacher.softmax(dim=1), distance, "sum").backward()
    assert teacher.grad is None
    assert logits.grad is not None
    assert (logits.grad.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradient_is_that_of_finite_differences(distance: Distance) -> None:
    target = random(2, 3, seed=2).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda x: distillation(x, target, distance, "sum"), random(2, 3).requires_grad_())


@pytest.mark.parametrize("distance", DISTANCES)
def test_sure_teachers_and_sure_students_stay_finite(distance: Distance) -> None:
    """Probabilities of exactly 0, in the target as in the student, whose float32 softmax underflows here."""
    logits = torch.tensor([[300.0, -300.0, 0.0], [0.0, 300.0, -300.0]], requires_grad=True)
    loss = distillation(logits, torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), distance, "sum")
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_js_is_symmetric_and_at_most_log_2() -> None:
    a, b = random(1, 4, seed=1) * 50, random(1, 4, seed=2) * 50
    there = distillation(a, b.softmax(dim=1), "js", "sum")
    assert there.item() == pytest.approx(distillation(b, a.softmax(dim=1), "js", "sum").item(), rel=1e-6)
    assert 0 < there.item() <= math.log(2) + 1e-12


def test_l2_takes_combinations_with_negative_weights() -> None:
    target = torch.tensor([[1.2, -0.2]], dtype=torch.float64)
    expected = (1.2 - 0.5) ** 2 + (-0.2 - 0.5) ** 2
    loss = distillation(torch.zeros(1, 2, dtype=torch.float64), target, "l2", "sum")
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_half_precision_is_summed_in_float32(distance: Distance) -> None:
    logits, target = random(3, 4).bfloat16(), random(3, 4, seed=2).softmax(dim=1).bfloat16()
    assert distillation(logits, target, distance, "sum").dtype == torch.float32


# --- Eq. 5 to 7 -----------------------------------------------------------------------------------


def cosine_loop(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths


def matrix_loop(z: list[list[float]]) -> list[list[float]]:
    """Eq. 5 for one video."""
    return [[cosine_loop(first, second) for second in z] for first in z]


@pytest.mark.parametrize("n", [2, 4])
def test_similarity_and_score_are_eq_5_and_6(n: int) -> None:
    invariant, distinctive = random(3, n, 6, seed=1), random(3, n, 6, seed=2)
    c_i, c_d = temporal_similarity(invariant), temporal_similarity(distinctive)
    scores = similarity_score(c_i, c_d)
    for i in range(3):
        first, second = matrix_loop(invariant[i].tolist()), matrix_loop(distinctive[i].tolist())
        expected = 0.0
        for t1 in range(n):
            for t2 in range(n):
                assert c_i[i, t1, t2].item() == pytest.approx(first[t1][t2], rel=1e-9, abs=1e-12)
                if t1 != t2:
                    expected += (first[t1][t2] + second[t1][t2]) / (2 * n * (n - 1))
        assert scores[i].item() == pytest.approx(expected, rel=1e-9)


def test_the_ends_of_the_score() -> None:
    """Clips that are all alike score 1; in opposite pairs and with an orthogonal second teacher -1/2."""
    same = temporal_similarity(torch.ones(1, 4, 3))
    assert similarity_score(same, same).item() == pytest.approx(1)
    opposite = temporal_similarity(torch.tensor([[[1.0, 0.0], [-2.0, 0.0]]]))
    orthogonal = temporal_similarity(torch.tensor([[[1.0, 0.0], [0.0, 3.0]]]))
    assert similarity_score(opposite, orthogonal).item() == pytest.approx(-1 / 2)


def test_one_clip_has_no_score() -> None:
    with pytest.raises(ValueError, match="at least two clips"):
        similarity_score(torch.ones(3, 1, 1), torch.ones(3, 1, 1))


def test_a_clip_without_features_resembles_nothing() -> None:
    found = temporal_similarity(torch.zeros(2, 3))
    assert torch.equal(found, torch.zeros(2, 2))


def test_similarities_are_computed_in_float32_under_autocast() -> None:
    z = random(4, 6).float()
    expected = temporal_similarity(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(temporal_similarity(z), expected)


def test_reweighting_is_eq_7() -> None:
    score = torch.tensor([0.0, 0.3, 1.0, -0.2], dtype=torch.float64)
    invariant, distinctive = random(4, 3, seed=1).softmax(dim=1), random(4, 3, seed=2).softmax(dim=1)
    found = reweighted(score, invariant, distinctive)
    for i in range(4):
        s = score[i].item()
        for c in range(3):
            expected = s * invariant[i, c].item() + (1 - s) * distinctive[i, c].item()
            assert found[i, c].item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(found[0], distinctive[0])
    assert torch.equal(found[2], invariant[2])
