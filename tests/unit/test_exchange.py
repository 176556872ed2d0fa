"""Shares of a step that one process computes side by side, against one big batch and against one after the other."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssar.engine.objective import ShareState
from ssar.errors import UserError
from ssar.exchange import Turns, exchange, gather_with_gradient, gathered
from ssar.losses.contrast import info_nce
from ssar.losses.instance_contrast import nt_xent
from ssar.models.batch_statistics import BatchStatistics, convert

KEEP = ShareState(torch.device("cpu"))


def together(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    return Turns(tasks, KEEP, len(tasks)).run()


def test_each_share_waits_for_all_and_keeps_its_own_modes() -> None:
    log: list[str] = []

    def task(name: str) -> Tensor:
        torch.manual_seed(ord(name))
        drawn = [torch.rand(())]
        log.append(f"{name}1")
        with torch.no_grad(), torch.autocast("cpu", enabled=name == "a"):
            first = exchange(drawn[0], torch.stack)
            assert not torch.is_grad_enabled()
            assert torch.is_autocast_enabled("cpu") == (name == "a")
        assert torch.is_grad_enabled()
        log.append(f"{name}2")
        drawn.append(torch.rand(()))  # goes on with its own random numbers
        exchange(first, sum)  # type: ignore[arg-type]
        return torch.stack([*first, *drawn])

    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    a, b = together([functools.partial(task, name) for name in "ab"])
    assert log == ["a1", "b1", "a2", "b2"]
    assert torch.equal(torch.random.get_rng_state(), before)
    expected = {}
    for name in "ab":
        torch.manual_seed(ord(name))
        expected[name] = torch.stack([torch.rand(()), torch.rand(())])
    both = torch.stack([expected["a"][0], expected["b"][0]])
    assert torch.equal(a, torch.cat([both, expected["a"]]))
    assert torch.equal(b, torch.cat([both, expected["b"]]))


def test_a_share_that_exchanges_less_often_is_a_mistake_that_is_told() -> None:
    with pytest.raises(RuntimeError, match="more often than others"):
        together([lambda: exchange(torch.ones(1), torch.cat), lambda: None])
    assert Turns.now is None
    with pytest.raises(ZeroDivisionError):
        together([lambda: exchange(torch.ones(1), torch.cat), lambda: 1 / 0])
    assert Turns.now is None


def test_a_loss_that_looks_further_than_its_options_say_is_told() -> None:
    task = functools.partial(gather_with_gradient, torch.ones(1, 2))
    for tasks in ([task], [task, task]):
        with pytest.raises(RuntimeError, match="do not say so"):
            Turns(tasks, KEEP, 0).run()
    # a setting that wants each share alone gets it
    assert [found.shape for found in Turns([task, task], KEEP, 1).run()] == [(1, 2), (1, 2)]


def test_inference_mode_would_stay_on_in_the_others_and_is_refused() -> None:
    def task() -> Tensor:
        with torch.inference_mode():
            return exchange(torch.ones(1), torch.cat)

    with pytest.raises(RuntimeError, match="shares cannot exchange under"):
        together([task, task])
    assert not torch.is_inference_mode_enabled()


def test_the_compiler_does_not_follow_into_other_shares() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    plain = copy.deepcopy(network)
    for module in (network, plain):
        convert(module, "step")
    network.compile(backend="eager")
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    compiled, expected = (
        together([functools.partial(module, part) for part in x.split(2)]) for module in (network, plain)
    )
    assert torch._C._dynamo.eval_frame.get_eval_frame_callback() is None  # type: ignore[attr-defined]
    assert all(torch.allclose(a, b) for a, b in zip(compiled, expected, strict=True))


@pytest.mark.parametrize("changes", [{"momentum": None}, {"track_running_stats": False}])
def test_batch_normalisation_without_a_moving_average_is_refused(changes: dict[str, Any]) -> None:
    network = nn.Sequential(nn.BatchNorm1d(3, **changes))
    with pytest.raises(UserError, match=r"^0: batch normalisation in steps of several shares needs"):
        convert(network, "share")


def test_shares_are_gathered_in_order_also_after_the_step() -> None:
    parts = [torch.full((2, 1), float(i)) for i in range(3)]
    found = together([functools.partial(gather_with_gradient, part) for part in parts])
    assert all(torch.equal(x, torch.cat(parts)) for x in [*found, gathered(parts)])


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_a_contrast_over_shares_has_the_gradient_of_one_big_batch(loss: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (
        nn.functional.normalize(torch.randn(6, 4, generator=generator, dtype=torch.float64)).requires_grad_()
        for _ in range(2)
    )
    expected = loss(first, second, 0.5)
    wanted = torch.autograd.grad(expected, [first, second])
    found = together([functools.partial(loss, a, b, 0.5) for a, b in zip(first.split(2), second.split(2), strict=True)])
    assert torch.allclose(torch.stack(found), expected.expand(3))
    # averaged over the shares, as DDP averages over processes
    got = torch.autograd.grad(sum(found) / 3, [first, second])
    assert all(torch.allclose(x, y) for x, y in zip(got, wanted, strict=True))


# --- batch normalisation --------------------------------------------------------------------------


def layer(kind: type[nn.Module], affine: bool = True) -> nn.Module:
    torch.manual_seed(1)
    norm = kind(3, affine=affine)  # type: ignore[call-arg]
    if affine:
        nn.init.uniform_(norm.weight)  # type: ignore[arg-type]
        nn.init.uniform_(norm.bias)  # type: ignore[arg-type]
    return nn.Sequential(norm).double()


SHAPES = {nn.BatchNorm1d: (6, 3), nn.BatchNorm3d: (6, 3, 2, 4, 4)}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", SHAPES)
def test_synchronised_shares_are_one_big_batch(kind: type[nn.Module], affine: bool) -> None:
    """Output, gradients and running statistics after two passes in a step, of nn.BatchNorm on all clips."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPES[kind], generator=generator, dtype=torch.float64).requires_grad_()
    cotangent = torch.randn(SHAPES[kind], generator=generator, dtype=torch.float64)
    big = layer(kind, affine)
    small = copy.deepcopy(big)
    convert(small, "step")

    expected = big(x) + big(3 * x)
    wanted = torch.autograd.grad((expected * cotangent).sum(), [x, *big.parameters()])
    found = torch.cat(together([lambda part=part: small(part) + small(3 * part) for part in x.split(2)]))
    got = torch.autograd.grad((found * cotangent).sum(), [x, *small.parameters()])
    assert torch.allclose(found, expected)
    assert all(torch.allclose(a, b) for a, b in zip(got, wanted, strict=True))

    assert torch.equal(small[0].running_mean, torch.zeros(3).double())  # until the step is over
    BatchStatistics(small).commit()
    assert big.state_dict().keys() == small.state_dict().keys()
    assert all(
        torch.allclose(a, b) for a, b in zip(small.state_dict().values(), big.state_dict().values(), strict=True)
    )
    assert torch.allclose(small.eval()(x), big.eval()(x))


@pytest.mark.parametrize("side_by_side", [True, False])
def test_shares_of_their_own_are_normalised_as_if_alone(side_by_side: bool) -> None:
    """Running statistics move by the mean over shares of each pass's statistics, computed here with loops."""
    x = torch.randn(SHAPES[nn.BatchNorm3d], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = layer(nn.BatchNorm3d)
    alone = [copy.deepcopy(norm) for _ in range(3)]
    convert(norm, "share")
    tasks = [lambda part=part: norm(part) + norm(part + 5) for part in x.split(2)]
    found = together(tasks) if side_by_side else [Turns([task], KEEP, 1, i).run()[0] for i, task in enumerate(tasks)]
    for got, part, own in zip(found, x.split(2), alone, strict=True):
        assert torch.allclose(got, own(part) + own(part + 5))
    BatchStatistics(norm).commit()
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    for shift in (0, 5):
        values = [(part + shift).transpose(0, 1).flatten(1) for part in x.split(2)]
        mean = 0.9 * mean + 0.1 * sum(v.mean(1) for v in values) / 3
        variance = 0.9 * variance + 0.1 * sum(v.var(1) for v in values) / 3
    assert torch.allclose(norm[0].running_mean, mean)
    assert torch.allclose(norm[0].running_var, variance)
    assert norm[0].num_batches_tracked == 2


def test_a_devices_shares_are_normalised_together() -> None:
    x = torch.randn(SHAPES[nn.BatchNorm3d], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = layer(nn.BatchNorm3d)
    big = copy.deepcopy(norm)
    convert(norm, "device")
    found = Turns([functools.partial(norm, part) for part in x.split(3)], KEEP, 1).run()
    assert torch.allclose(torch.cat(found), big(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_synchronised_shares_in_half_precision_are_those_of_torch(dtype: torch.dtype) -> None:
    """Under autocast a network's input is of 16 bits, its weights are not; channels last as trainings have it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPES[nn.BatchNorm3d], generator=generator).to(dtype)
    x = (x + 3).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    cotangent = torch.randn(SHAPES[nn.BatchNorm3d], generator=generator).to(dtype)
    big = layer(nn.BatchNorm3d).float()
    small = copy.deepcopy(big)
    convert(small, "step")
    expected = big(x)
    found = torch.cat(together([lambda part=part: small(part) for part in x.split(2)]))
    assert found.dtype == dtype
    wanted = torch.autograd.grad((expected * cotangent).float().sum(), [x, *big.parameters()])
    got = torch.autograd.grad((found * cotangent).float().sum(), [x, *small.parameters()])
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 4e-2}[dtype]
    for a, b in zip([found, *got], [expected, *wanted], strict=True):
        assert a.dtype == b.dtype
        assert (a - b).float().norm() <= tolerance * b.float().norm()
