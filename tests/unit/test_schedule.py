"""Learning rates against their closed forms, and the arithmetic of steps, epochs and accumulation."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssar.config import OptimConfig, RunConfig, parse_run
from ssar.engine.optim import build
from ssar.engine.plan import plan
from ssar.engine.schedule import Schedule
from ssar.errors import UserError


def test_ltg_cosine_with_linear_warmup_over_180_epochs() -> None:
    """LTG on UCF-101: lr 0.2, 30 of 180 epochs of warm-up from a tenth; 0.1866 right after it (released code)."""
    schedule = Schedule(OptimConfig(lr=0.2, warmup_epochs=30), epochs=180)
    assert schedule.lr(0) == pytest.approx(0.02)
    assert schedule.lr(15) == pytest.approx(0.2 * (0.1 + 0.9 * 0.5) * 0.5 * (1 + math.cos(math.pi * 15 / 180)))
    assert schedule.lr(30) == pytest.approx(0.1866, abs=5e-5)
    assert schedule.lr(90) == pytest.approx(0.1)
    assert schedule.lr(180) == pytest.approx(0, abs=1e-12)


def test_warmup_moves_at_every_step_not_every_epoch() -> None:
    schedule = Schedule(OptimConfig(lr=1.0, schedule="constant", warmup_epochs=2, warmup_from=0.0), epochs=10)
    assert [schedule.lr(epoch) for epoch in (0, 0.1, 0.2, 1.9, 2.0, 9.9)] == pytest.approx([0, 0.05, 0.1, 0.95, 1, 1])


def test_step_multiplies_at_its_milestones() -> None:
    schedule = Schedule(OptimConfig(lr=1.0, schedule="step", milestones=(2, 4.5), gamma=0.5), epochs=6)
    assert [schedule.lr(epoch) for epoch in (0, 1.99, 2, 4.4, 4.5, 6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.integers(1, 3))
def test_plateau_is_that_of_torch_and_resumes(losses: list[float], patience: int) -> None:
    config = OptimConfig(lr=1.0, schedule="plateau", gamma=0.5, patience=patience)
    schedule = Schedule(config, epochs=len(losses))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=0, eps=0)
    for loss in losses:
        resumed = Schedule(config, epochs=len(losses))
        resumed.load_state_dict(schedule.state_dict())
        schedule = resumed
        schedule.end_epoch(loss)
        theirs.step(loss)
        assert schedule.lr(1) == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_written_out(nesterov: bool) -> None:
    """g = gradient + decay w; v = m v + g; w -= lr v, or lr (g + m v) in Nesterov's form."""
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    w, v = layer.weight.item(), 0.0
    optimizer = build(OptimConfig(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov), layer)
    for step in range(4):
        optimizer.zero_grad()
        (layer.weight.sum() ** 2 * (step + 1)).backward()
        optimizer.step()
        g = 2 * w * (step + 1) + 0.01 * w
        v = 0.9 * v + g
        w -= 0.1 * (g + 0.9 * v if nesterov else v)
        assert layer.weight.item() == pytest.approx(w, rel=1e-9)


@pytest.mark.parametrize("others", [{"momentum": 0}, {"name": "adam"}])
def test_nesterovs_form_needs_a_momentum(others: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`nesterov` is a form of SGD's momentum"):
        OptimConfig(lr=0.1, nesterov=True, **others)


def run_of(**train: Any) -> RunConfig:
    """A supervised run with this length and these batches."""
    fixed = {"method": "supervised", "version": 1, "dataset": "any", "data": {}, "labels": {"protocol": "all"}}
    optim = {"lr": 0.1, "schedule": "constant"}
    return parse_run(json.dumps({**fixed, "optim": optim, "train": train, "options": {}}))


def test_plan_of_ltg_on_ucf101() -> None:
    """9,537 videos in batches of 40 from 8 GPUs; fewer reach the same in turn."""
    run = run_of(epochs=180, labelled=5, unlabelled=5, global_labelled=40)
    plans = {devices: plan(run, 1900, 9537, devices) for devices in (1, 2, 4, 8)}
    assert {devices: found.accumulation for devices, found in plans.items()} == {1: 8, 2: 4, 4: 2, 8: 1}
    assert {found.at_once for found in plans.values()} == {1}
    assert {found.steps for found in plans.values()} == {math.ceil(180 * 9537 / 40)}
    one = plans[1]
    assert (one.labelled, one.unlabelled) == (40, 40)
    assert one.epochs == pytest.approx(180, abs=0.005)
    assert one.epoch(238) == pytest.approx(238 * 40 / 9537)


@pytest.mark.parametrize(
    ("changes", "devices", "at_once"),
    [
        ({"batch_norm": "step"}, 1, 8),  # whoever looks at all shares has them side by side
        ({"batch_norm": "step"}, 4, 2),
        ({"batch_norm": "step", "exchange": 4}, 1, 4),
        ({"batch_norm": "step", "exchange": 4}, 4, 1),
        ({"batch_norm": "device"}, 2, 4),
        ({"exchange": 4}, 1, 1),  # nothing exchanges
    ],
)
def test_shares_that_look_at_each_other_are_computed_side_by_side(
    changes: dict[str, Any], devices: int, at_once: int
) -> None:
    run = run_of(steps=1, labelled=5, unlabelled=5, global_labelled=40, **changes)
    assert plan(run, 40, 40, devices).at_once == at_once


def test_plan_counts_epochs_of_the_labelled_stream_and_given_steps() -> None:
    by_labelled = plan(run_of(epochs=3, epoch_of="labelled", labelled=4, unlabelled=8), 10, 1000, devices=1)
    assert by_labelled.steps == math.ceil(3 * 10 / 4)
    assert plan(run_of(steps=7, labelled=4, unlabelled=8), 10, 1000, devices=1).steps == 7


@pytest.mark.parametrize(
    ("train", "devices", "complaint"),
    [
        ({"global_labelled": 40}, 3, "3 devices cannot divide a step of 8 share"),
        ({}, 2, "2 devices cannot divide a step of 1 share"),
        ({"global_labelled": 40, "batch_norm": "step", "exchange": 2}, 4, "key `train.exchange`: 4 devices"),
        ({"epoch_of": "unlabelled"}, 1, "no unlabelled videos"),
    ],
)
def test_plan_refuses_what_cannot_be_made_up(train: dict[str, Any], devices: int, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        plan(run_of(**{"epochs": 1, "labelled": 5, "epoch_of": "labelled"} | train), 10, 0, devices)
