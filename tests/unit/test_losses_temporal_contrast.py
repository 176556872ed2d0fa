"""Contrast of the clips of videos against loops written from the paper, and over two processes."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from ssar.losses.temporal_contrast import (
    Pairs,
    contrastive_loss,
    distinctive_pairs,
    invariant_pairs,
    statistics,
    unpooled_pairs,
)

Clips = list[list[list[float]]]  # [video][timestamp][dimension]


def embeddings(seed: int, videos: int = 3, clips: int = 4, width: int = 5) -> Tensor:
    return torch.randn(videos, clips, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def h(u: list[float], v: list[float], tau: float) -> float:
    norms = math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(x * x for x in v))
    return math.exp(sum(a * b for a, b in zip(u, v, strict=True)) / norms / tau)


def reduced(each: list[float], reduction: str) -> float:
    return sum(each) if reduction == "sum" else sum(each) / len(each)


def eq_1_loop(z: Clips, tau: float, with_positive: bool, reduction: str) -> float:
    """Mean over i of L_I. The indicator belongs to the first term, so that j = i adds the positive; or to both."""
    losses = []
    for i in range(len(z)):
        each = []
        for t1, t2 in permutations(range(len(z[i])), 2):
            denominator = 0.0
            for j in range(len(z)):
                indicator = 1 if j != i else 0
                first, second = h(z[i][t1], z[j][t1], tau), h(z[i][t1], z[j][t2], tau)
                denominator += indicator * first + second if with_positive else indicator * (first + second)
            each.append(-math.log(h(z[i][t1], z[i][t2], tau) / denominator))
        losses.append(reduced(each, reduction))
    return sum(losses) / len(losses)


def eq_3_loop(z: Clips, copy: Clips, tau: float, with_positive: bool, reduction: str) -> float:
    """Mean over i of L_D1."""
    losses = []
    for i in range(len(z)):
        each = []
        for t1 in range(len(z[i])):
            positive = h(z[i][t1], copy[i][t1], tau)
            denominator = positive if with_positive else 0.0
            for t2 in range(len(z[i])):
                if t2 != t1:
                    denominator += h(z[i][t1], z[i][t2], tau) + h(z[i][t1], copy[i][t2], tau)
            each.append(-math.log(positive / denominator))
        losses.append(reduced(each, reduction))
    return sum(losses) / len(losses)


def d2_loop(pooled: Clips, unpooled: Clips, tau: float, with_positive: bool, reduction: str) -> float:
    """Mean over videos and directions of L_D2: which slice a clip is, and which clip a slice is."""
    losses = []
    for i in range(len(pooled)):
        for queries, keys in ((pooled[i], unpooled[i]), (unpooled[i], pooled[i])):
            each = []
            for t1 in range(len(queries)):
                wanted = [t2 for t2 in range(len(keys)) if with_positive or t2 != t1]
                denominator = sum(h(queries[t1], keys[t2], tau) for t2 in wanted)
                each.append(-math.log(h(queries[t1], keys[t1], tau) / denominator))
            losses.append(reduced(each, reduction))
    return sum(losses) / len(losses)


every_option = pytest.mark.parametrize(
    ("clips", "tau", "with_positive", "reduction"),
    [
        (4, 0.1, True, "sum"),
        (4, 0.1, False, "sum"),
        (4, 0.5, True, "mean"),
        (2, 1.0, False, "mean"),
        (2, 0.1, True, "sum"),
    ],
)


@every_option
@pytest.mark.parametrize("videos", [2, 3])
def test_invariant_is_eq_1(videos: int, clips: int, tau: float, with_positive: bool, reduction: Any) -> None:
    z = embeddings(1, videos, clips)
    loss = contrastive_loss(invariant_pairs(z), tau, with_positive=with_positive, reduction=reduction)
    assert loss.item() == pytest.approx(eq_1_loop(z.tolist(), tau, with_positive, reduction), rel=1e-9)


@every_option
@pytest.mark.parametrize("videos", [1, 3])
def test_distinctive_is_eq_3(videos: int, clips: int, tau: float, with_positive: bool, reduction: Any) -> None:
    z, copy = embeddings(1, videos, clips), embeddings(2, videos, clips)
    loss = contrastive_loss(distinctive_pairs(z, copy), tau, with_positive=with_positive, reduction=reduction)
    assert loss.item() == pytest.approx(eq_3_loop(z.tolist(), copy.tolist(), tau, with_positive, reduction), rel=1e-9)


@every_option
@pytest.mark.parametrize("videos", [1, 3])
def test_unpooled_is_d2_in_both_directions(
    videos: int, clips: int, tau: float, with_positive: bool, reduction: Any
) -> None:
    pooled, unpooled = embeddings(1, videos, clips), embeddings(2, videos, clips)
    loss = contrastive_loss(unpooled_pairs(pooled, unpooled), tau, with_positive=with_positive, reduction=reduction)
    expected = d2_loop(pooled.tolist(), unpooled.tolist(), tau, with_positive, reduction)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_with_the_positive_unpooled_is_cross_entropy_over_timestamps() -> None:
    pooled, unpooled = (torch.nn.functional.normalize(embeddings(seed), dim=2) for seed in (1, 2))
    logits = torch.einsum("itd,iud->itu", pooled, unpooled) / 0.1
    timestamp = torch.arange(4).expand(3, 4)
    there = torch.nn.functional.cross_entropy(logits, timestamp)
    back = torch.nn.functional.cross_entropy(logits.transpose(1, 2), timestamp)
    loss = contrastive_loss(unpooled_pairs(pooled, unpooled), 0.1, with_positive=True, reduction="mean")
    torch.testing.assert_close(loss, (there + back) / 2)


# --- gradients ------------------------------------------------------------------------------------


def first_video(pairs: Pairs) -> Tensor:
    return contrastive_loss(Pairs(pairs.positive[:1], pairs.negatives[:1]), 0.5, with_positive=False, reduction="sum")


def test_other_videos_are_negatives_of_the_invariant_loss_alone() -> None:
    z, copy = embeddings(1).requires_grad_(), embeddings(2).requires_grad_()
    first_video(invariant_pairs(z)).backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(dim=2) > 0).all()
    for pairs in (distinctive_pairs, unpooled_pairs):
        z.grad = copy.grad = None
        first_video(pairs(z, copy)).backward()
        for x in (z, copy):
            assert x.grad is not None
            assert (x.grad[0].abs().sum(dim=1) > 0).all(), "both copies learn, at every timestamp"
            assert (x.grad[1:] == 0).all(), "other videos take no part"


def test_positives_attract_and_negatives_repel() -> None:
    pairs = Pairs(torch.zeros(1, 2, requires_grad=True), torch.zeros(1, 2, 3, requires_grad=True))
    contrastive_loss(pairs, 0.1, with_positive=True, reduction="sum").backward()
    assert pairs.positive.grad is not None
    assert pairs.negatives.grad is not None
    assert (pairs.positive.grad < 0).all()
    assert (pairs.negatives.grad > 0).all()


# --- edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_positive", [True, False])
def test_one_video_has_no_negatives_and_costs_nothing(with_positive: bool) -> None:
    z = embeddings(1, videos=1).requires_grad_()
    pairs = invariant_pairs(z)
    loss = contrastive_loss(pairs, 0.1, with_positive=with_positive, reduction="sum")
    loss.backward()
    assert pairs.negatives.shape == (1, 12, 0)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert z.grad is not None
    assert z.grad.abs().max() == pytest.approx(0, abs=1e-12)
    assert statistics(pairs)["negative_similarity"].isnan()


@pytest.mark.parametrize("n", [2, 4])
def test_clips_that_coincide_cost_the_log_of_their_number(n: int) -> None:
    """A video shorter than one clip: every negative is the positive."""
    z = embeddings(1, clips=1).expand(-1, n, -1).clone().requires_grad_()
    for with_positive, count in ((False, 2 * (n - 1)), (True, 2 * (n - 1) + 1)):
        loss = contrastive_loss(distinctive_pairs(z, z), 0.1, with_positive=with_positive, reduction="mean")
        loss.backward()
        assert loss.item() == pytest.approx(math.log(count), rel=1e-9)
    assert z.grad is not None
    assert z.grad.abs().max() < 1e-9, "there is no way to tell them apart"


def test_zero_embeddings_are_finite() -> None:
    z = torch.zeros(2, 2, 3, requires_grad=True)
    for pairs in (invariant_pairs(z), distinctive_pairs(z, z), unpooled_pairs(z, z)):
        loss = contrastive_loss(pairs, 0.1, with_positive=False, reduction="sum")
        assert torch.autograd.grad(loss, z)[0].isfinite().all()


def test_similarities_are_computed_in_float32_under_autocast() -> None:
    z, copy = embeddings(1).float(), embeddings(2).float()

    def losses() -> list[Tensor]:
        pairs = [invariant_pairs(z), distinctive_pairs(z, copy), unpooled_pairs(z, copy)]
        return [contrastive_loss(x, 0.1, with_positive=True, reduction="sum") for x in pairs]

    expected = losses()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, losses(), expected))
    assert invariant_pairs(z.bfloat16()).positive.dtype == torch.float32


def test_statistics() -> None:
    pairs = Pairs(torch.tensor([[0.9, 0.5]]), torch.tensor([[[0.8, 0.1], [0.5, 0.2]]]))
    found = statistics(pairs)
    assert found["positive_similarity"].item() == pytest.approx(0.7)
    assert found["negative_similarity"].item() == pytest.approx(0.4)
    assert found["retrieval"].item() == 0.5, "a tie is no success"
    assert all(x.dim() == 0 and not x.requires_grad for x in found.values())


# --- two processes --------------------------------------------------------------------------------


def project(weight: Tensor, start: int, stop: int) -> list[Tensor]:
    """A model with one parameter on a part of the batch: the three losses."""
    z, copy = (embeddings(seed, videos=4)[start:stop] @ weight for seed in (1, 2))
    pairs = [invariant_pairs(z), distinctive_pairs(z, copy), unpooled_pairs(z, copy)]
    return [contrastive_loss(x, 0.5, with_positive=False, reduction="sum") for x in pairs]


def gradients(losses: list[Tensor], weight: Tensor) -> Tensor:
    return torch.stack([torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in losses])


def two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    weight = embeddings(3)[0, 0].diag().requires_grad_()
    losses = project(weight, 2 * rank, 2 * rank + 2)
    gradient = gradients(losses, weight)
    dist.all_reduce(gradient)
    torch.save((torch.stack(losses).detach(), gradient / 2), f"{folder}/{rank}.pt")  # DDP averages gradients
    dist.destroy_process_group()


def test_two_processes_give_the_losses_and_gradients_of_one(tmp_path: Path) -> None:
    weight = embeddings(3)[0, 0].diag().requires_grad_()
    losses = project(weight, 0, 4)
    expected = gradients(losses, weight)
    mp.spawn(two_processes, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for each, gradient in found:
        assert each[0].item() == pytest.approx(losses[0].item(), rel=1e-12), "negatives come from both processes"
        torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close((found[0][0] + found[1][0]) / 2, torch.stack(losses).detach())
