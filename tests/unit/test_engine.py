"""The loop on made-up batches: accumulation, averages, clipping, curves, and what is not finite."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ssar.config import RunConfig, parse_run
from ssar.engine.averaging import exponential_average, precise_bn
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.objective import ShareState
from ssar.engine.plan import plan
from ssar.errors import UserError
from ssar.methods.base import Batch, Method, View
from ssar.runtime import Runtime

VIEW = View("labelled", "rgb", "weak")


def settings(**changes: Any) -> RunConfig:
    """A small supervised run; nested groups are given as dicts."""
    values: dict[str, Any] = {
        "method": "supervised",
        "version": 1,
        "dataset": "made-up",
        "data": {},
        "labels": {"protocol": "all"},
        "optim": {"lr": 0.1, "schedule": "constant"},
        "train": {"steps": 4, "labelled": 2},
        "options": {},
    }
    return parse_run(json.dumps(values | changes))


class Linear(Method):
    """A linear classifier of clips with two terms, whose statistic is a share of nothing in odd steps."""

    views = (VIEW,)

    def __init__(self, config: RunConfig, num_classes: int = 3) -> None:
        super().__init__(config, num_classes)
        torch.manual_seed(0)
        self.predictor = nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))
        self.steps: list[int] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.predictor(batch.clips[VIEW])
        self.stats = {"share": torch.tensor(math.nan if len(self.steps) % 2 else 1.0)}
        return {"labelled": nn.functional.cross_entropy(logits, batch.label), "decay": logits.square().mean()}

    def weights(self, epoch: float) -> dict[str, float]:
        return {"labelled": 1.0, "decay": 0.5}

    def after_step(self, step: int) -> None:
        self.steps.append(step)


Made = tuple[Tensor, Tensor]


def made_up(count: int, size: int) -> list[Made]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, 1, 2, 2, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


def prepare(raw: Made, epoch: float) -> tuple[Batch, list[str]]:
    return Batch({VIEW: raw[0]}, raw[1], None, epoch), [f"clip{i}.avi" for i in range(len(raw[1]))]


@pytest.fixture
def looped(tmp_path: Path) -> Callable[..., Loop]:
    """Run a loop on batches (endlessly repeated) and return it."""

    def run(config: RunConfig, batches: list[Made], *, method: Method | None = None, **runtime: Any) -> Loop:
        loop = Loop(
            Fabric(accelerator="cpu", precision=config.precision),
            method or Linear(config),
            config,
            plan(config, 8, 8, devices=1),
            Runtime(log_every=2, **runtime),
            Checkpoints(tmp_path, "id"),
            Curves(None),
            Interrupt(),
        )
        loop.run(itertools.cycle(batches), prepare)
        return loop

    return run


def weight(loop: Loop) -> Tensor:
    return next(loop.method.predictor.parameters()).detach()


def test_it_is_plain_sgd(looped: Callable[..., Loop]) -> None:
    """Against the update written out: v <- m v + g + wd w, w <- w - lr v, with clipping to a norm of 0.1."""
    config = settings(
        optim={"lr": 0.1, "schedule": "constant", "momentum": 0.8, "weight_decay": 0.01, "clip_norm": 0.1}
    )
    batches = made_up(4, 2)
    loop = looped(config, batches)
    reference = Linear(config)
    speed = [torch.zeros_like(p) for p in reference.parameters()]
    for raw in batches:
        terms = reference.loss(prepare(raw, 0.0)[0])
        gradients = torch.autograd.grad(terms["labelled"] + 0.5 * terms["decay"], list(reference.parameters()))
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm > 0.1
        for parameter, gradient, v in zip(reference.parameters(), gradients, speed, strict=True):
            v.mul_(0.8).add_(gradient * 0.1 / norm + 0.01 * parameter)
            parameter.data -= 0.1 * v
    assert torch.allclose(weight(loop), weight_of(reference), atol=1e-6)
    assert loop.method.steps == [0, 1, 2, 3]  # type: ignore[attr-defined]


def weight_of(method: Method) -> Tensor:
    return next(method.predictor.parameters()).detach()


def test_accumulated_micro_batches_equal_one_big_batch(looped: Callable[..., Loop]) -> None:
    small = made_up(12, 2)
    big = [tuple(torch.cat(parts) for parts in zip(*small[i : i + 3], strict=True)) for i in range(0, 12, 3)]
    accumulated = looped(settings(train={"steps": 4, "labelled": 2, "global_labelled": 6}), small)
    at_once = looped(settings(train={"steps": 4, "labelled": 6}), big)
    assert accumulated.plan.accumulation == 3
    assert torch.allclose(weight(accumulated), weight(at_once), atol=1e-6)


def test_curves_are_means_of_their_window(looped: Callable[..., Loop], tmp_path: Path) -> None:
    batches = made_up(4, 2)
    config = settings(train={"steps": 3, "labelled": 2, "epoch_of": "labelled"})
    loop = looped(config, batches)
    rows = loop.account.curves.rows
    assert [row["step"] for row in rows] == [2, 3]
    assert [row["epoch"] for row in rows] == [0.5, 0.75]
    reference = looped(settings(train={"steps": 3, "labelled": 2}), batches, checkpoint_minutes=0).account.curves.rows
    for ours, theirs in zip(rows, reference, strict=True):
        assert ours["loss"] == pytest.approx(ours["labelled"] + 0.5 * ours["decay"])
        assert (ours["loss"], ours["share"], ours["lr"]) == (theirs["loss"], 1.0, 0.1)
        assert ours["clips_per_second"] > 0
        assert 0 <= ours["data_wait_share"] <= 1
    loop.account.curves.write(tmp_path / "curves.csv")
    header, first, *_ = (tmp_path / "curves.csv").read_text().splitlines()
    assert header.startswith("step,epoch,lr,loss,labelled,decay,gradient_norm,share")
    assert first.startswith(f"2,0.5,0.1,{rows[0]['loss']}")


def test_a_term_that_is_not_finite_is_named_with_its_videos(looped: Callable[..., Loop]) -> None:
    batches = made_up(4, 2)
    batches[2][0][0, 0, 0, 0, 0] = math.inf

    with pytest.raises(UserError) as caught:
        looped(settings(train={"steps": 2, "labelled": 2, "global_labelled": 4}), batches)
    assert "step 2 of 2 is not finite" in str(caught.value)
    assert "term 'labelled' is nan; its videos: clip0.avi, clip1.avi" in str(caught.value)
    assert str(caught.value).count("clip0.avi") == 2  # two terms of one micro-batch


def test_too_little_memory_is_told_with_what_takes_less(looped: Callable[..., Loop]) -> None:
    class Greedy(Linear):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    config = settings(train={"steps": 4, "labelled": 2, "global_labelled": 6, "batch_norm": "step"})
    with pytest.raises(UserError, match=r"in step 1 with 3 share.*train.exchange below 3"):
        looped(config, made_up(4, 2), method=Greedy(config))


def test_a_gradient_that_is_not_finite_is_named(looped: Callable[..., Loop]) -> None:
    class Steep(Linear):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            terms = super().loss(batch)
            # sqrt has an infinite slope at 0, where its value is fine
            return terms | {"decay": (terms["decay"] * 0).sqrt()}

    config = settings()
    with pytest.raises(UserError, match=r"step 1 of 4(.|\n)*gradient's norm is nan(.|\n)*clip1\.avi"):
        looped(config, made_up(4, 2), method=Steep(config))


def test_resuming_from_any_checkpoint_repeats_the_rest(looped: Callable[..., Loop], tmp_path: Path) -> None:
    class Noisy(Linear):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            clips = nn.functional.dropout(batch.clips[VIEW], 0.5)
            return super().loss(Batch({VIEW: clips}, batch.label, None, batch.epoch))

    optimisation = {"lr": 0.1, "schedule": "plateau", "patience": 1, "warmup_epochs": 1}
    train = {"steps": 12, "labelled": 2, "epoch_of": "labelled", "ema": 0.5}
    config = settings(optim=optimisation, train=train)
    batches = made_up(12, 2)
    states: list[dict[str, Any]] = []

    class Recorder(Checkpoints):
        def save(self, state: dict[str, Any]) -> None:
            super().save(state)
            loaded = self.load()
            assert loaded is not None
            states.append(loaded)

    def loop() -> Loop:
        return Loop(
            Fabric(accelerator="cpu"),
            Noisy(config),
            config,
            plan(config, 8, 8, devices=1),
            Runtime(log_every=5, checkpoint_minutes=0),
            Recorder(tmp_path / "recorded", "id"),
            Curves(None),
            Interrupt(),
        )

    whole = loop()
    whole.run(iter(batches), prepare)
    assert [state["step"] for state in states] == list(range(1, 13))
    unrecorded = looped(config, batches, method=Noisy(config))
    assert torch.equal(weight(unrecorded), weight(whole)), "writing checkpoints changes the result"

    def deterministic(rows: list[dict[str, float]]) -> list[dict[str, float]]:
        return [{k: v for k, v in row.items() if k not in ("clips_per_second", "data_wait_share")} for row in rows]

    for state in list(states)[::4]:
        again = loop()
        again.load_state_dict(state)
        again.run(iter(batches[state["step"] :]), prepare)
        assert torch.equal(weight(again), weight(whole))
        assert again.ema is not None
        assert whole.ema is not None
        for ours, theirs in zip(again.ema.parameters(), whole.ema.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        assert deterministic(again.account.curves.rows) == deterministic(whole.account.curves.rows)


def test_exponential_average_written_out() -> None:
    network = nn.BatchNorm1d(1)
    average = exponential_average(network, 0.75)
    expected = {"weight": 0.0, "running_mean": 0.0}
    for step, value in enumerate((4.0, 8.0, 2.0)):
        network.weight.data.fill_(value)
        assert network.running_mean is not None
        network.running_mean.fill_(-value)
        average.update_parameters(network)
        share = 1.0 if step == 0 else 0.25
        expected["weight"] += share * (value - expected["weight"])
        expected["running_mean"] += share * (-value - expected["running_mean"])
    assert average.module.weight.item() == pytest.approx(expected["weight"])
    assert average.module.running_mean.item() == pytest.approx(expected["running_mean"])


def test_precise_bn_is_the_plain_average_of_batch_statistics() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.BatchNorm3d(4)).eval()
    before = [p.clone() for p in network.parameters()]
    batches = [torch.randn(2, 3, 2, 3, 3) * scale for scale in (1, 5, 2)]
    precise_bn(network, ([batch] for batch in batches), ShareState(torch.device("cpu")), 1)
    convolution, norm = network[0], network[1]
    assert isinstance(norm, nn.BatchNorm3d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    seen = [convolution(batch).transpose(0, 1).flatten(1) for batch in batches]
    assert torch.allclose(norm.running_mean, sum(x.mean(1) for x in seen) / 3, atol=1e-6)
    assert torch.allclose(norm.running_var, sum(x.var(1) for x in seen) / 3, rtol=1e-5)
    assert norm.momentum == 0.1
    assert not network.training
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


def test_a_method_whose_weights_and_terms_disagree_is_told(looped: Callable[..., Loop]) -> None:
    class Forgetful(Linear):
        def weights(self, epoch: float) -> dict[str, float]:
            return {"labelled": 1.0}

    config = settings()
    with pytest.raises(KeyError, match="decay"):
        looped(config, made_up(4, 2), method=Forgetful(config))
