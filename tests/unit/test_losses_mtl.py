"""Calibration and distillation of ACL+MTL §3.4 against loops written from the paper."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from ssar.losses.calibration import attention, calibrated
from ssar.losses.self_distillation import entropy, self_distillation, targets

B, C, T, H, W = 2, 3, 2, 2, 3
POSITIONS = list(itertools.product(range(T), range(H), range(W)))


def maps(seed: int) -> Tensor:
    return torch.randn(B, C, T, H, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs(seed: int, width: int = 5) -> Tensor:
    return torch.randn(3, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b)))


def calibrated_loop(query: Tensor, key: Tensor, reading: str) -> Tensor:
    """Eq. 13 and 14, position by position."""
    result = torch.zeros_like(key)
    for b in range(B):
        q = {p: query[(b, slice(None), *p)].tolist() for p in POSITIONS}
        k = {p: key[(b, slice(None), *p)].tolist() for p in POSITIONS}
        mean = [sum(q[p][c] for p in POSITIONS) / len(POSITIONS) for c in range(C)]
        for p in POSITIONS:
            if reading == "pairs":
                for other in POSITIONS:
                    a = cosine(q[p], k[other]) / len(POSITIONS)
                    for c in range(C):
                        result[(b, c, *p)] += a * k[other][c]
            else:
                a = cosine(q[p] if reading == "position" else mean, k[p])
                for c in range(C):
                    result[(b, c, *p)] = a * k[p][c]
    return result


@pytest.mark.parametrize("reading", ["position", "pooled", "pairs"])
def test_calibration_is_eq_13_and_14(reading: str) -> None:
    query, key = maps(1), maps(2)
    torch.testing.assert_close(calibrated(query, key, reading), calibrated_loop(query, key, reading))  # type: ignore[arg-type]


@pytest.mark.parametrize("reading", ["position", "pooled", "pairs"])
def test_attention_is_a_cosine_in_float32(reading: str) -> None:
    query, key = maps(1).to(torch.bfloat16), maps(2).to(torch.bfloat16)
    expected = attention(query.float(), key.float(), reading)  # type: ignore[arg-type]
    assert expected.abs().max() <= 1 + 1e-6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(query, key, reading)  # type: ignore[arg-type]
        assert calibrated(query, key, reading).dtype == torch.float32  # type: ignore[arg-type]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reading", ["position", "pooled"])
def test_a_clip_that_is_the_query_everywhere_stays(reading: str) -> None:
    same = torch.ones(1, C, T, H, W)
    torch.testing.assert_close(calibrated(same, 3 * same, reading), 3 * same)  # type: ignore[arg-type]


def test_positions_that_have_nothing_to_do_with_the_query_are_suppressed() -> None:
    query = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 1, 2)
    key = torch.tensor([[2.0, 0.0], [0.0, 5.0]]).view(1, 2, 1, 1, 2)  # the second position is orthogonal
    for reading in ("position", "pooled"):
        assert calibrated(query, key, reading)[0, :, 0, 0].tolist() == [[2, 0], [0, 0]]  # type: ignore[arg-type]


def test_a_map_of_zeros_is_finite() -> None:
    zeros = torch.zeros(1, C, T, H, W)
    for reading in ("position", "pooled", "pairs"):
        assert torch.equal(calibrated(zeros, zeros, reading), zeros)  # type: ignore[arg-type]


def softmax_loop(row: list[float], temperature: float) -> list[float]:
    exps = [math.exp(x / temperature) for x in row]
    return [e / sum(exps) for e in exps]


@pytest.mark.parametrize("centred", [True, False])
def test_distillation_is_eq_17_with_the_cross_entropy(centred: bool) -> None:
    student, teacher = outputs(1), outputs(2)
    centre = outputs(3)[0] if centred else torch.zeros(5, dtype=torch.float64)
    expected = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p_q = softmax_loop(s, 0.1)
        p_k = softmax_loop([x - c for x, c in zip(t, centre.tolist(), strict=True)], 0.04)
        expected -= sum(a * math.log(b) for a, b in zip(p_k, p_q, strict=True)) / 3
    found = self_distillation(student, targets(teacher, 0.04, centre), 0.1)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_gradient_reaches_the_student_alone() -> None:
    student, teacher, centre = outputs(1).requires_grad_(), outputs(2).requires_grad_(), torch.zeros(5).requires_grad_()
    self_distillation(student, targets(teacher, 0.04, centre.detach()), 0.1).backward()
    assert student.grad is not None
    assert (student.grad.abs().sum(dim=1) > 0).all()
    assert teacher.grad is None


def test_large_outputs_are_finite_and_the_loss_float32() -> None:
    student, teacher = (1e4 * outputs(seed).to(torch.bfloat16) for seed in (1, 2))
    loss = self_distillation(student, targets(teacher, 0.04, torch.zeros(5)), 0.1)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_entropy_tells_a_choice_from_indifference() -> None:
    assert entropy(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).item() == 0
    assert entropy(torch.full((2, 4), 0.25)).item() == pytest.approx(math.log(4))
