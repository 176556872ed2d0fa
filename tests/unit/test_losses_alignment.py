"""Alignment against loops written from the paper."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from ssar.losses.alignment import alignment, distance


def maps(seed: int, shape: tuple[int, ...] = (2, 3, 2, 2, 2)) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine_loop(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def printed_loop(f1: Tensor, f2: Tensor, kind: str) -> float:
    """Eq. 8 as printed, of each clip's whole map, mean over clips; the cosine shifted by 1."""
    result = 0.0
    for one, two in zip(f1, f2, strict=True):
        a, b = one.flatten().tolist(), two.flatten().tolist()
        if kind == "l1":
            value = sum(abs(x - y) for x, y in zip(a, b, strict=True))
        elif kind == "l2":
            value = math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
        else:
            value = 1 - cosine_loop(a, b)
        result += value / len(f1)
    return result


def dense_loop(f1: Tensor, f2: Tensor, kind: str) -> float:
    """The released reading: one vector of channels per clip and position, or one number per element."""
    batch, channels, *size = f1.shape
    values = []
    for n, t, h, w in itertools.product(range(batch), *map(range, size)):
        a, b = f1[n, :, t, h, w].tolist(), f2[n, :, t, h, w].tolist()
        if kind == "cosine":
            values.append(1 - cosine_loop(a, b))
        else:
            values += [abs(a[c] - b[c]) if kind == "l1" else (a[c] - b[c]) ** 2 for c in range(channels)]
    return sum(values) / len(values)


@pytest.mark.parametrize("kind", ["l1", "l2", "cosine"])
@pytest.mark.parametrize(("reduction", "loop"), [("mean", dense_loop), ("norm", printed_loop)])
@pytest.mark.parametrize("batch", [1, 3])
def test_distance_is_eq_8(kind: str, reduction: str, loop: object, batch: int) -> None:
    f1, f2 = maps(1, (batch, 3, 2, 2, 2)), maps(2, (batch, 3, 2, 2, 2))
    assert callable(loop)
    got = distance(f1, f2, kind, reduction)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(loop(f1, f2, kind), rel=1e-9)


def test_cosine_ignores_scale_and_the_others_do_not() -> None:
    """LTG §4.5: v1 = (10, 10, 10) and v2 = (1, 1, 1) have cosine loss 0, large l1 and l2."""
    v1, v2 = torch.full((1, 3, 1, 1, 1), 10.0), torch.ones(1, 3, 1, 1, 1)
    assert distance(v1, v2, "cosine", "mean").item() == pytest.approx(0, abs=1e-6)
    assert distance(v1, v2, "l1", "mean").item() == pytest.approx(9)
    assert distance(v1, v2, "l2", "mean").item() == pytest.approx(81)


@pytest.mark.parametrize("block_reduction", ["sum", "mean"])
def test_blocks_are_reduced_as_asked(block_reduction: str) -> None:
    student, teacher = [maps(1), maps(2, (2, 4, 1, 2, 2))], [maps(3), maps(4, (2, 4, 1, 2, 2))]
    each = [distance(s, t, "cosine", "mean").item() for s, t in zip(student, teacher, strict=True)]
    expected = sum(each) if block_reduction == "sum" else sum(each) / 2
    got = alignment(student, teacher, block_reduction=block_reduction)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["l1", "l2", "cosine"])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_stop_gradient_spares_the_teacher(kind: str, stop_gradient: bool) -> None:
    student, teacher = maps(1).requires_grad_(), maps(2).requires_grad_()
    alignment([student], [teacher], kind=kind, stop_gradient=stop_gradient).backward()  # type: ignore[arg-type]
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert (teacher.grad is None) == stop_gradient


@pytest.mark.parametrize("kind", ["l1", "l2", "cosine"])
@pytest.mark.parametrize("reduction", ["mean", "norm"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_dead_and_equal_maps_have_finite_gradients(kind: str, reduction: str, value: float) -> None:
    """After ReLU whole positions are 0; a norm and a cosine have no derivative there."""
    student = torch.full((1, 2, 1, 2, 2), value, requires_grad=True)
    loss = distance(student, student.detach().clone(), kind, reduction)  # type: ignore[arg-type]
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
