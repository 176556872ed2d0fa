"""InfoNCE against a loop written from the paper, and over two processes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from ssar.losses.contrast import info_nce


def embeddings(seed: int, batch: int = 4, width: int = 5) -> Tensor:
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def eq_10_loop(queries: list[list[float]], keys: list[list[float]], temperature: float) -> float:
    """Mean over queries of Eq. 10; the key at the query's own place is k+, all others k-."""

    def sim(q: list[float], k: list[float]) -> float:
        norms = math.sqrt(sum(x * x for x in q)) * math.sqrt(sum(x * x for x in k))
        return sum(a * b for a, b in zip(q, k, strict=True)) / norms

    result = 0.0
    for i, q in enumerate(queries):
        exps = [math.exp(sim(q, k) / temperature) for k in keys]
        result -= math.log(exps[i] / sum(exps)) / len(queries)
    return result


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("batch", [2, 4])
def test_info_nce_is_eq_10_in_both_directions(temperature: float, batch: int) -> None:
    rgb, tg = embeddings(1, batch), embeddings(2, batch)
    there = eq_10_loop(rgb.tolist(), tg.tolist(), temperature)
    back = eq_10_loop(tg.tolist(), rgb.tolist(), temperature)
    assert info_nce(rgb, tg, temperature).item() == pytest.approx((there + back) / 2, rel=1e-9)


def test_both_modalities_get_gradient() -> None:
    rgb, tg = embeddings(1).requires_grad_(), embeddings(2).requires_grad_()
    info_nce(rgb, tg, 0.5).backward()
    for x in (rgb, tg):
        assert x.grad is not None
        assert (x.grad.abs().sum(dim=1) > 0).all()


def test_one_pair_has_no_negatives_and_costs_nothing() -> None:
    rgb = embeddings(1, 1).requires_grad_()
    loss = info_nce(rgb, embeddings(2, 1), 0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert rgb.grad is not None
    assert rgb.grad.abs().max() == pytest.approx(0, abs=1e-12)


def test_similarities_are_computed_in_float32_under_autocast() -> None:
    rgb, tg = embeddings(1).float(), embeddings(2).float()
    expected = info_nce(rgb, tg, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(info_nce(rgb, tg, 0.1), expected)


def project(weight: Tensor, start: int, stop: int) -> Tensor:
    """A model with one parameter, shared by both modalities, on a part of the batch."""
    return info_nce(embeddings(1)[start:stop] @ weight, embeddings(2)[start:stop] @ weight, 0.5)


def two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    weight = embeddings(3, 5).requires_grad_()
    loss = project(weight, 2 * rank, 2 * rank + 2)
    loss.backward()
    assert weight.grad is not None
    dist.all_reduce(weight.grad)
    torch.save((loss.item(), weight.grad / 2), f"{folder}/{rank}.pt")  # DDP averages gradients
    dist.destroy_process_group()


def test_two_processes_give_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    weight = embeddings(3, 5).requires_grad_()
    loss = project(weight, 0, 4)
    loss.backward()
    mp.spawn(two_processes, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        rank_loss, gradient = torch.load(tmp_path / f"{rank}.pt")
        assert rank_loss == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(gradient, weight.grad)
