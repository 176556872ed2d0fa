"""Cross-entropy and pseudo-labels against loops written from the paper."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssar.losses.cross_entropy import cross_entropy
from ssar.losses.pseudo_label import PseudoLabels, fused_probabilities, pseudo_label_loss, select, statistics


def softmax_loop(row: list[float]) -> list[float]:
    exps = [math.exp(value) for value in row]
    return [e / sum(exps) for e in exps]


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), batch=st.integers(1, 6), classes=st.integers(2, 5))
def test_cross_entropy_is_eq_1(seed: int, batch: int, classes: int) -> None:
    logits, label = random_logits(batch, classes, seed=seed), torch.arange(batch) % classes
    expected = 0.0
    for row, y in zip(logits.tolist(), label.tolist(), strict=True):
        expected -= math.log(softmax_loop(row)[y]) / batch
    assert cross_entropy(logits, label).item() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), batch=st.integers(1, 6), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
def test_pseudo_label_loss_is_eq_2_and_3(seed: int, batch: int, threshold: float) -> None:
    weak, strong = random_logits(batch, 4, seed=seed), random_logits(batch, 4, seed=seed + 1)
    expected = 0.0
    for w, s in zip(weak.tolist(), strong.tolist(), strict=True):
        p = softmax_loop(w)
        if max(p) >= threshold:
            expected -= math.log(softmax_loop(s)[p.index(max(p))]) / batch
    pseudo = select(weak.softmax(dim=1), threshold)
    assert pseudo_label_loss(strong, pseudo).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_threshold_is_inclusive() -> None:
    assert select(torch.tensor([[0.5, 0.5], [0.25, 0.75]]), 0.75).confident.tolist() == [False, True]


@pytest.mark.parametrize("source", ["rgb", "tg", "self", "average"])
@pytest.mark.parametrize("average_of", ["probabilities", "logits"])
def test_fusion_is_eq_5_and_the_rows_of_table_3d(source: str, average_of: str) -> None:
    logits = {"rgb": random_logits(3, 4, seed=1), "tg": random_logits(3, 4, seed=2)}
    fused = fused_probabilities(logits, source, average_of)  # type: ignore[arg-type]
    for modality in logits:
        for j in range(3):
            r, t = logits["rgb"][j].tolist(), logits["tg"][j].tolist()
            if source == "average" and average_of == "logits":
                expected = softmax_loop([(a + b) / 2 for a, b in zip(r, t, strict=True)])
            elif source == "average":
                expected = [a / 2 + b / 2 for a, b in zip(softmax_loop(r), softmax_loop(t), strict=True)]
            else:
                expected = softmax_loop({"rgb": r, "tg": t}[modality if source == "self" else source])
            assert fused[modality][j].tolist() == pytest.approx(expected, rel=1e-9)


def test_averaging_probabilities_and_logits_can_disagree() -> None:
    """A sure and an unsure modality: the logits' mean follows the sure one much further."""
    logits = {"rgb": torch.tensor([[20.0, 0.0, 0.0]]), "tg": torch.tensor([[0.0, 1.0, 0.0]])}
    of_probabilities = fused_probabilities(logits, "average", "probabilities")["rgb"]
    of_logits = fused_probabilities(logits, "average", "logits")["rgb"]
    assert select(of_logits, 0.9).confident.item()
    assert not select(of_probabilities, 0.9).confident.item()


def test_gradient_reaches_confident_strong_clips_only() -> None:
    weak = torch.tensor([[4.0, 0.0], [0.1, 0.0]], requires_grad=True)
    strong = torch.zeros(2, 2, requires_grad=True)
    pseudo_label_loss(strong, select(weak.softmax(dim=1), 0.9)).backward()
    assert weak.grad is None
    assert strong.grad is not None
    assert strong.grad[0].abs().sum() > 0
    assert strong.grad[1].abs().sum() == 0


def test_no_confident_clip_costs_nothing_and_is_finite() -> None:
    strong = torch.full((3, 2), 1e4, requires_grad=True)
    pseudo = select(torch.full((3, 2), 0.5), 0.9)
    loss = pseudo_label_loss(strong, pseudo)
    loss.backward()
    assert loss.item() == 0
    assert strong.grad is not None
    assert torch.equal(strong.grad, torch.zeros(3, 2))
    stats = statistics(pseudo, torch.tensor([0, 1, 0]))
    assert stats["pseudo_rate"].item() == 0
    assert stats["pseudo_accuracy"].isnan()


def test_statistics() -> None:
    pseudo = PseudoLabels(torch.tensor([0, 1, 1, 0]), torch.tensor([True, True, True, False]))
    stats = statistics(pseudo, torch.tensor([0, 1, 0, 1]))
    assert stats["pseudo_rate"].item() == pytest.approx(3 / 4)
    assert stats["pseudo_accuracy"].item() == pytest.approx(2 / 3)
    assert statistics(pseudo, None).keys() == {"pseudo_rate"}


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = random_logits(4, 3).to(torch.bfloat16)
    label = torch.arange(4) % 3
    assert cross_entropy(logits, label).dtype == torch.float32
    assert fused_probabilities({"rgb": logits}, "average", "logits")["rgb"].dtype == torch.float32
