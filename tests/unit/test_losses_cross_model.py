"""Cross-model pseudo-labels against loops written from CMPL's Appendix A."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssar.losses.cross_model import Source, cross_model_probabilities
from ssar.losses.pseudo_label import pseudo_label_loss, select

SOURCES = get_args(Source)


def random_probabilities(*shape: int, seed: int = 0) -> Tensor:
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    return logits.softmax(dim=-1)


def appendix_a(f: list[float], a: list[float], source: str, tau: float) -> tuple[list[float], list[float]]:
    """l_F and l_A of one clip, with the indicators written out as numbers."""

    def chosen(indicator: bool, yes: list[float], no: list[float]) -> list[float]:
        one = float(indicator)
        return [one * y + (1 - one) * n for y, n in zip(yes, no, strict=True)]

    if source == "cross":
        return a, f
    if source == "self-first":
        return chosen(max(f) >= tau, f, a), chosen(max(a) >= tau, a, f)
    if source == "opposite-first":
        return chosen(max(a) >= tau, a, f), chosen(max(f) >= tau, f, a)
    mean = [(x + y) / 2 for x, y in zip(f, a, strict=True)]
    both = chosen(max(f) >= max(a), f, a) if source == "maximum" else mean
    return both, both


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    batch=st.integers(1, 6),
    source=st.sampled_from(SOURCES),
    threshold=st.sampled_from([0.0, 0.5, 0.7, 0.9, 1.0]),
)
def test_every_source_is_appendix_a(seed: int, batch: int, source: Source, threshold: float) -> None:
    f, a = random_probabilities(batch, 3, seed=seed), random_probabilities(batch, 3, seed=seed + 1)
    found = cross_model_probabilities(f, a, source, threshold)
    for i in range(batch):
        expected = appendix_a(f[i].tolist(), a[i].tolist(), source, threshold)
        for network in (0, 1):
            assert found[network][i].tolist() == pytest.approx(expected[network], rel=1e-12)


SURE, UNSURE = [0.95, 0.05, 0.0], [0.3, 0.3, 0.4]
OTHER_SURE = [0.0, 0.92, 0.08]


@pytest.mark.parametrize(
    ("f", "a", "labels"),
    [  # what F learns and what A learns, None for nothing, with each source
        (SURE, OTHER_SURE, {"cross": (1, 0), "self-first": (0, 1), "opposite-first": (1, 0), "maximum": (0, 0)}),
        (SURE, UNSURE, {"cross": (None, 0), "self-first": (0, 0), "opposite-first": (0, 0), "maximum": (0, 0)}),
        (UNSURE, OTHER_SURE, {"cross": (1, None), "self-first": (1, 1), "opposite-first": (1, 1), "maximum": (1, 1)}),
        (UNSURE, UNSURE, dict.fromkeys(SOURCES, (None, None))),
        (SURE, SURE, dict.fromkeys(SOURCES, (0, 0))),
        (SURE, OTHER_SURE, {"average": (None, None)}),  # 0.95 and 0.92 of different classes: half as sure
    ],
)
def test_who_learns_which_label(
    f: list[float], a: list[float], labels: dict[Source, tuple[int | None, int | None]]
) -> None:
    for source, expected in labels.items():
        learned = cross_model_probabilities(torch.tensor([f]), torch.tensor([a]), source, 0.9)
        found = [select(p, 0.9) for p in learned]
        assert tuple(x.label.item() if x.confident.item() else None for x in found) == expected, source


def test_confidence_at_the_threshold_is_enough_and_a_tie_goes_to_the_primary_network() -> None:
    f, a = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.25, 0.75]])
    assert torch.equal(cross_model_probabilities(f, a, "self-first", 0.75)[0], f)
    assert torch.equal(cross_model_probabilities(f, a, "opposite-first", 0.75)[0], a)
    assert all(torch.equal(p, f) for p in cross_model_probabilities(f, a, "maximum", 0.75))


@pytest.mark.parametrize("source", SOURCES)
def test_no_gradient_reaches_the_network_that_labels(source: Source) -> None:
    weak = [random_probabilities(4, 3, seed=seed).requires_grad_() for seed in (1, 2)]
    strong = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    for p in cross_model_probabilities(*weak, source, 0.5):
        pseudo_label_loss(strong, select(p, 0.0)).backward()
    assert all(x.grad is None for x in weak)
    assert strong.grad is not None
    assert strong.grad.abs().sum() > 0
