"""ACL+MTL Eq. 7 to 11 against loops written from the paper, and what its Table 3 compares with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from ssar.losses.adaptive_contrast import (
    adaptive_contrast,
    candidates,
    positives,
    prototype_similarity,
    reliability,
)
from ssar.losses.instance_contrast import nt_xent, queue_info_nce
from ssar.losses.mixture import FLOOR
from ssar.losses.pseudo_label import PseudoLabels, pseudo_label_loss

TAU, ITERATIONS, LEAST = 0.2, 10, 4


class Case(NamedTuple):
    anchor: Tensor  # (B, D)
    own: Tensor  # (B, D)
    label: Tensor  # (B,)
    bank: Tensor  # (M, D)
    bank_label: Tensor  # (M,)
    filled: Tensor  # (M,)
    prototype: Tensor  # (K, D), not of length one
    seen: Tensor  # (K,)


def directions(rows: int, seed: int, width: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def case(seed: int = 0, batch: int = 4, places: int = 16) -> Case:
    """Three classes: 0 and 1 have prototypes, 2 has none; a quarter of the bank is not filled."""
    generator = torch.Generator().manual_seed(seed + 100)
    return Case(
        directions(batch, seed),
        directions(batch, seed + 1),
        torch.arange(batch) % 3,
        directions(places, seed + 2),
        torch.randint(0, 2, (places,), generator=generator),
        torch.arange(places) < 3 * places // 4,
        2.5 * directions(3, seed + 3),
        torch.tensor([True, True, False]),
    )


def gamma_of(c: Case, unfitted: float = 0.0) -> Tensor:
    return reliability(
        prototype_similarity(c.own, c.bank, c.prototype[c.label]),
        candidates(c.label, c.bank_label, c.filled),
        c.seen[c.label],
        least=LEAST,
        unfitted=unfitted,
        iterations=ITERATIONS,
    )


def loss_of(c: Case, epsilon: float, consider_anchor: bool = True, unfitted: float = 0.0) -> Tensor:
    positive = positives(gamma_of(c, unfitted), epsilon, consider_anchor)
    return adaptive_contrast(c.anchor, c.own, c.bank, c.filled, positive, TAU)


# --- the paper, in loops ---------------------------------------------------------------------------


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def eq_8(f: list[float], prototype: list[float]) -> float:
    return dot(f, prototype) / (math.sqrt(dot(f, f)) * math.sqrt(dot(prototype, prototype)))


def eq_9(distances: list[float]) -> list[float]:
    """Expectation-maximisation, value by value."""
    n = len(distances)
    mean = sum(distances) / n
    means = [min(distances), max(distances)]
    variances = [sum((d - mean) ** 2 for d in distances) / n + FLOOR] * 2
    shares = [0.5, 0.5]

    def posterior(d: float) -> list[float]:
        density = [
            shares[k] * math.exp(-((d - means[k]) ** 2) / (2 * variances[k])) / math.sqrt(2 * math.pi * variances[k])
            for k in (0, 1)
        ]
        return [p / sum(density) for p in density]

    for _ in range(ITERATIONS):
        part = [posterior(d) for d in distances]
        for k in (0, 1):
            mass = sum(p[k] for p in part)
            means[k] = sum(p[k] * d for p, d in zip(part, distances, strict=True)) / mass
            variances[k] = sum(p[k] * (d - means[k]) ** 2 for p, d in zip(part, distances, strict=True)) / mass + FLOOR
            shares[k] = mass / n
    high = 0 if means[0] > means[1] else 1
    return [posterior(d)[high] for d in distances]


def by_the_paper(c: Case, epsilon: float, consider_anchor: bool, unfitted: float) -> tuple[float, list[float]]:
    """L_ACL, and gamma of each clip's f^p."""
    losses, gammas = [], []
    memory = [f for f, used in zip(c.bank.tolist(), c.filled.tolist(), strict=True) if used]
    labels = [y for y, used in zip(c.bank_label.tolist(), c.filled.tolist(), strict=True) if used]
    for f_a, f_p, y in zip(c.anchor.tolist(), c.own.tolist(), c.label.tolist(), strict=True):
        # Eq. 7; -1 is f^p, others are places in the memory
        initial = [-1] + [i for i in range(len(memory)) if labels[i] == y]
        feature = {-1: f_p} | dict(enumerate(memory))
        if len(initial) < LEAST or not c.seen[y]:
            gamma = dict.fromkeys(initial, unfitted)
        else:
            prototype = c.prototype[y].tolist()
            gamma = dict(zip(initial, eq_9([eq_8(feature[i], prototype) for i in initial]), strict=True))
        chosen = [i for i in initial if gamma[i] > epsilon]  # Eq. 10
        if (consider_anchor and gamma[-1] <= epsilon) or not chosen:
            chosen = [-1]
        attracted = sum(math.exp(dot(f_a, feature[i]) / TAU) for i in chosen)
        repelled = sum(math.exp(dot(f_a, memory[i]) / TAU) for i in range(len(memory)) if i not in chosen)
        losses.append(-math.log(attracted / (attracted + repelled)))  # Eq. 11
        gammas.append(gamma[-1])
    return sum(losses) / len(losses), gammas


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("epsilon", [0.3, 0.7])
@pytest.mark.parametrize("consider_anchor", [True, False])
@pytest.mark.parametrize("unfitted", [0.0, 1.0])
def test_the_loss_is_eq_7_to_11(seed: int, epsilon: float, consider_anchor: bool, unfitted: float) -> None:
    c = case(seed)
    expected, gammas = by_the_paper(c, epsilon, consider_anchor, unfitted)
    assert gamma_of(c, unfitted)[:, 0].tolist() == pytest.approx(gammas, abs=1e-7)
    assert loss_of(c, epsilon, consider_anchor, unfitted).item() == pytest.approx(expected, rel=1e-6)


def test_both_branches_are_taken() -> None:
    """Or the comparison with the loops would show little."""
    gammas = torch.cat([gamma_of(case(seed))[:, 0] for seed in range(4)])
    assert (gammas > 0.7).any()
    assert (gammas <= 0.7).any()


def test_candidates_are_filled_places_of_the_same_label_and_the_clip_itself() -> None:
    found = candidates(torch.tensor([1, 0]), torch.tensor([1, 1, 0]), torch.tensor([True, False, True]))
    assert found.tolist() == [[True, True, False, False], [True, False, False, True]]


def test_positives_with_and_without_the_anchors_own_confidence() -> None:
    gamma = torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.8, 0.0], [0.2, 0.3, 0.1]])
    assert positives(gamma, 0.7).tolist() == [[True, True, False], [True, False, False], [True, False, False]]
    assert positives(gamma, 0.7, consider_anchor=False).tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, False],
    ]


@pytest.mark.parametrize("unfitted", [0.0, 1.0])
def test_nothing_is_fitted_without_a_prototype_or_with_few_candidates(unfitted: float) -> None:
    c = case()
    member = candidates(c.label, c.bank_label, c.filled)
    similarity = prototype_similarity(c.own, c.bank, c.prototype[c.label])
    never = reliability(
        similarity, member, torch.zeros_like(c.label, dtype=torch.bool), least=2, unfitted=unfitted, iterations=5
    )
    assert torch.equal(never, unfitted * member)
    few = reliability(
        similarity, member, torch.ones_like(c.label, dtype=torch.bool), least=99, unfitted=unfitted, iterations=5
    )
    assert torch.equal(few, unfitted * member)


def test_an_empty_bank_costs_nothing_and_is_finite() -> None:
    c = case()
    c = c._replace(filled=torch.zeros_like(c.filled), anchor=c.anchor.requires_grad_())
    loss = loss_of(c, 0.7)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert c.anchor.grad is not None
    assert c.anchor.grad.abs().max() < 1e-12


def test_a_batch_of_one_is_its_part_of_a_larger_one() -> None:
    c = case()
    parts = [
        loss_of(c._replace(anchor=c.anchor[i : i + 1], own=c.own[i : i + 1], label=c.label[i : i + 1]), 0.5)
        for i in range(4)
    ]
    assert torch.stack(parts).mean().item() == pytest.approx(loss_of(c, 0.5).item(), rel=1e-9)


@pytest.mark.parametrize("name", ["acl", "moco"])
def test_gradient_reaches_the_anchors_alone(name: str) -> None:
    c = case()
    anchor, own, bank = (x.clone().requires_grad_() for x in (c.anchor, c.own, c.bank))
    c = c._replace(anchor=anchor, own=own, bank=bank)
    loss = loss_of(c, 0.5) if name == "acl" else queue_info_nce(anchor, own, bank, c.filled, TAU)
    loss.backward()
    assert anchor.grad is not None
    assert (anchor.grad.abs().sum(dim=1) > 0).all()
    assert own.grad is None
    assert bank.grad is None


def test_with_f_p_alone_as_positive_the_loss_is_mocos() -> None:
    c = case()
    alone = torch.zeros(4, 17, dtype=torch.bool)
    alone[:, 0] = True
    moco = queue_info_nce(c.anchor, c.own, c.bank, c.filled, TAU)
    torch.testing.assert_close(adaptive_contrast(c.anchor, c.own, c.bank, c.filled, alone, TAU), moco)


@pytest.mark.parametrize("name", ["acl", "moco", "simclr"])
def test_similarities_are_computed_in_float32_under_autocast(name: str) -> None:
    c = Case(*(x.float() if x.is_floating_point() else x for x in case()))

    def loss() -> Tensor:
        if name == "acl":
            return loss_of(c, 0.5)
        if name == "moco":
            return queue_info_nce(c.anchor, c.own, c.bank, c.filled, TAU)
        return nt_xent(c.anchor, c.own, TAU)

    expected = loss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(), expected)


def test_the_weight_of_each_clip_is_its_gamma() -> None:
    """Eq. 2 with the gamma_i of §3.5."""
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    pseudo = PseudoLabels(torch.tensor([1, 3, 0]), torch.tensor([True, True, False]))
    weight = torch.tensor([0.25, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    expected = 0.0
    for row, y, sure, g in zip(logits.tolist(), [1, 3, 0], [1, 1, 0], [0.25, 0.0, 1.0], strict=True):
        expected -= sure * g * math.log(math.exp(row[y]) / sum(map(math.exp, row))) / 3
    loss = pseudo_label_loss(logits, pseudo, weight)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert weight.grad is None
    assert logits.grad is not None
    assert (logits.grad.abs().sum(dim=1) > 0).tolist() == [True, False, False]


# --- SimCLR and MoCo -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 3])
def test_nt_xent_is_simclrs_eq_1(batch: int) -> None:
    both = [*directions(batch, 5).tolist(), *directions(batch, 6).tolist()]
    expected = 0.0
    for i, z in enumerate(both):
        partner = (i + batch) % (2 * batch)
        others = sum(math.exp(dot(z, other) / TAU) for k, other in enumerate(both) if k != i)
        expected -= math.log(math.exp(dot(z, both[partner]) / TAU) / others) / (2 * batch)
    first, second = directions(batch, 5).requires_grad_(), directions(batch, 6).requires_grad_()
    loss = nt_xent(first, second, TAU)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert all((x.grad.abs().sum(dim=1) > 0).all() for x in (first, second) if x.grad is not None)


def test_one_pair_has_no_negatives_and_costs_nothing() -> None:
    first = directions(1, 5).requires_grad_()
    loss = nt_xent(first, directions(1, 6), TAU)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert first.grad is not None
    assert first.grad.abs().max() == pytest.approx(0, abs=1e-12)


def test_queue_info_nce_is_mocos_eq_1() -> None:
    c = case()
    expected = 0.0
    for q, k in zip(c.anchor.tolist(), c.own.tolist(), strict=True):
        positive = math.exp(dot(q, k) / TAU)
        negative = sum(
            math.exp(dot(q, n) / TAU) for n, used in zip(c.bank.tolist(), c.filled.tolist(), strict=True) if used
        )
        expected -= math.log(positive / (positive + negative)) / 4
    found = queue_info_nce(c.anchor, c.own, c.bank, c.filled, TAU)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    empty = queue_info_nce(c.anchor, c.own, c.bank, torch.zeros_like(c.filled), TAU)
    assert empty.item() == pytest.approx(0, abs=1e-12)


def projected(weight: Tensor, name: str, start: int, stop: int) -> Tensor:
    """A model with one parameter on a part of the batch."""
    c = case()
    c = c._replace(own=c.own[start:stop], label=c.label[start:stop])
    anchor = F.normalize(case().anchor[start:stop] @ weight, dim=1)
    if name == "simclr":
        return nt_xent(anchor, F.normalize(c.own @ weight, dim=1), TAU)
    if name == "moco":
        return queue_info_nce(anchor, c.own, c.bank, c.filled, TAU)
    return loss_of(c._replace(anchor=anchor), 0.5)


NAMES = ("acl", "simclr", "moco")


def two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {}
    for name in NAMES:
        weight = directions(4, 9).requires_grad_()
        loss = projected(weight, name, 2 * rank, 2 * rank + 2)
        loss.backward()
        assert weight.grad is not None
        mean = loss.detach().clone()
        for value in (weight.grad, mean):
            dist.all_reduce(value)  # DDP averages gradients, the engine the terms
        found[name] = (mean.item() / 2, weight.grad / 2)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    mp.spawn(two_processes, (str(tmp_path),), nprocs=2)
    for name in NAMES:
        weight = directions(4, 9).requires_grad_()
        loss = projected(weight, name, 0, 4)
        loss.backward()
        for rank in range(2):
            rank_loss, gradient = torch.load(tmp_path / f"{rank}.pt")[name]
            assert rank_loss == pytest.approx(loss.item(), rel=1e-9)
            torch.testing.assert_close(gradient, weight.grad)
