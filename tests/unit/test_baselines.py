"""Pseudo-Label, Mean Teacher and MvPL against loops written from their equations, and where their gradients go."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_methods import CLASSES, tiny_batch, tiny_method, tiny_run, total
from torch import Tensor

from ssar.config import RunConfig
from ssar.engine.weights import save_model
from ssar.errors import UserError
from ssar.grid import build
from ssar.methods import method_class
from ssar.methods.base import Batch, Method, View
from ssar.methods.mean_teacher import MeanTeacher, consistency, sigmoid_rampup
from ssar.methods.mvpl import view_targets
from ssar.methods.pseudo_label import alpha
from ssar.project import CONFIG


def softmax_loop(row: list[float]) -> list[float]:
    exps = [math.exp(value) for value in row]
    return [e / sum(exps) for e in exps]


def random_logits(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def gradients(method: Method, term: Tensor) -> dict[str, float]:
    """The sum of a term's absolute gradients by child module."""
    method.zero_grad(set_to_none=True)
    term.backward(retain_graph=True)
    sums: dict[str, float] = {}
    for name, p in method.named_parameters():
        child = name.partition(".")[0]
        sums[child] = sums.get(child, 0.0) + (0.0 if p.grad is None else p.grad.abs().sum().item())
    return sums


def changed(batch: Batch, **views: Tensor) -> Batch:
    """The batch with the clips of some views, named stream_modality_strength_copy, replaced."""
    clips = dict(batch.clips)
    for name, value in views.items():
        stream, modality, strength, copy = name.split("_")
        view = View(stream, modality, strength, copy=int(copy))  # type: ignore[arg-type]
        assert view in clips
        clips[view] = value
    return replace(batch, clips=clips)


# --- in LTG's tables ------------------------------------------------------------------------------


def test_ramps_are_the_same_share_of_every_training() -> None:
    """Of 45 epochs as of 360: a weight that never ends its rise is that of another method."""
    grid = build([CONFIG / "config.yaml"], {"paper": "ltg", "papers": ["ltg"], "seeds": [0]})
    lengths = set()
    for setting in {setting for _, _, setting in grid.selected()}:
        for run in grid.select("ltg", "pseudo-label", setting):
            start, end = run.config.options.ramp
            assert start == grid.select("ltg", "fixmatch-rgb", setting)[0].config.train.supervised_warmup_epochs
            assert end == run.config.train.epochs
            lengths.add(end)
        for run in grid.select("ltg", "mean-teacher", setting):
            epochs = run.config.train.epochs
            assert run.config.options.rampup_epochs == epochs * 48 / 180
            # the ramp itself begins gently
            assert method_class("mean_teacher")(small(run.config), CLASSES).weights(epochs / 100)["consistency"] > 0
    assert lengths == {45, 90, 180, 360}


def small(run: RunConfig) -> RunConfig:
    """The run with a network that is made at once."""
    return run.model_copy(update={"model": run.model.model_copy(update={"width": 0.125})})


# --- Pseudo-Label ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "weight"), [(0, 0), (29.9, 0), (30, 0), (31, 3 / 60), (60, 1.5), (89, 3 * 59 / 60), (90, 3), (1e9, 3)]
)
def test_alpha_is_lee_eq_16(epoch: float, weight: float) -> None:
    assert alpha(epoch, 3, 30, 90) == pytest.approx(weight)
    method = tiny_method(tiny_run("pseudo_label", options__ramp=[30, 90]))
    assert method.weights(epoch) == {"labelled": 1.0, "unlabelled": pytest.approx(weight)}


def test_a_ramp_without_length_is_a_step() -> None:
    assert [alpha(epoch, 2, 5, 5) for epoch in (4.99, 5, 6)] == [0, 2, 2]
    assert alpha(0, 2, 0, 0) == 2


def test_a_ramp_goes_forward() -> None:
    with pytest.raises(UserError, match="ends at epoch 3"):
        tiny_run("pseudo_label", options__ramp=[4, 3])


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_pseudo_label_loss_is_lee_eq_15(threshold: float) -> None:
    """Of each unlabelled clip's own prediction, in the pass that is trained."""
    method = tiny_method(tiny_run("pseudo_label", options__threshold=threshold)).double()
    batch = tiny_batch(method)
    batch = replace(batch, clips={view: 3 * clip.double() for view, clip in batch.clips.items()})
    terms = method.loss(batch)
    logits = method.predictor(torch.cat([batch.clips[view] for view in method.views])).detach()
    expected = {"labelled": 0.0, "unlabelled": 0.0}
    for row, y in zip(logits[:3].tolist(), batch.label.tolist(), strict=True):
        expected["labelled"] -= math.log(softmax_loop(row)[y]) / 3
    for row in logits[3:].tolist():
        if max(softmax_loop(row)) >= threshold:
            expected["unlabelled"] -= math.log(max(softmax_loop(row))) / 3
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert torch.allclose(method.predictions["predictor"], logits[3:].softmax(dim=1))


def test_the_pseudo_label_is_a_constant() -> None:
    """The gradient of -log p_y is p - y, to which a gradient through the label would add."""
    method = tiny_method(tiny_run("pseudo_label")).eval()
    batch = tiny_batch(method)
    method.loss(batch)["unlabelled"].backward()
    probabilities = method.predictions["predictor"]
    assert not probabilities.requires_grad
    hot = torch.nn.functional.one_hot(probabilities.argmax(dim=1), CLASSES)
    gradient = method.predictor.fc.bias.grad
    assert gradient is not None
    assert torch.allclose(gradient, (probabilities - hot).mean(dim=0), atol=1e-6)


# --- Mean Teacher ---------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 1, 24, 47.5, 48, 1e9])
def test_the_ramp_up_is_a_sigmoid(epoch: float) -> None:
    t = min(epoch, 48) / 48
    assert sigmoid_rampup(epoch, 48) == pytest.approx(math.exp(-5 * (1 - t) ** 2))
    method = tiny_method(tiny_run("mean_teacher", options__w_consistency=7, options__rampup_epochs=48))
    assert method.weights(epoch) == {"labelled": 1, "consistency": pytest.approx(7 * sigmoid_rampup(epoch, 48))}


def test_no_ramp_up_is_full_weight_at_once() -> None:
    assert sigmoid_rampup(0, 0) == 1


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("clips", [1, 4])
def test_consistency_is_eq_1(reduction: Any, clips: int) -> None:
    student, teacher = random_logits(clips, 5, seed=1), random_logits(clips, 5, seed=2)
    expected = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        norm = sum((a - b) ** 2 for a, b in zip(softmax_loop(s), softmax_loop(t), strict=True))
        expected += norm / clips / (5 if reduction == "mean" else 1)
    assert consistency(student, teacher, reduction).item() == pytest.approx(expected, rel=1e-12)


def test_consistency_teaches_the_student_alone() -> None:
    student, teacher = (random_logits(3, 4, seed=seed).requires_grad_() for seed in (1, 2))
    consistency(student, teacher, "sum").backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert consistency(student, student, "sum").item() == 0


@pytest.mark.parametrize("student_view", ["weak", "strong"])
@pytest.mark.parametrize("student_pass", ["joint", "own"])
def test_who_sees_what(student_view: str, student_pass: str) -> None:
    """Evaluation mode, so that clips do not meet in batch statistics."""
    run = tiny_run("mean_teacher", options__student_view=student_view, options__student_pass=student_pass)
    method = tiny_method(run).eval()
    assert isinstance(method, MeanTeacher)
    with torch.no_grad():
        method.teacher.network.fc.bias.add_(torch.tensor([1.0, 0.0, -1.0]))
    batch = tiny_batch(method)
    clips = {(view.stream, view.strength, view.copy): clip for view, clip in batch.clips.items()}
    noisy = clips["unlabelled", student_view, 1 if student_view == "weak" else 0]
    student = method.student(torch.cat([clips["labelled", "weak", 0], noisy]))
    teacher = method.predictor(torch.cat([clips["labelled", "weak", 1], clips["unlabelled", "weak", 0]]))
    terms = method.loss(batch)
    assert len(clips) == 4
    assert terms["consistency"].item() == pytest.approx(consistency(student, teacher, "sum").item(), rel=1e-5)
    expected = torch.nn.functional.cross_entropy(student[:3], batch.label)
    assert terms["labelled"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(method.predictions["predictor"], teacher[3:].softmax(dim=1), atol=1e-6)


def test_the_teacher_learns_by_averaging_only() -> None:
    method = tiny_method(tiny_run("mean_teacher"))
    assert isinstance(method, MeanTeacher)
    batch = tiny_batch(method)
    for term in method.loss(batch).values():
        sums = gradients(method, term)
        assert sums["student"] > 0
        assert sums["teacher"] == 0
    assert not method.predictor.training
    assert method.predictor is method.teacher.network
    assert sum(name.endswith("fc.weight") for name in method.state_dict()) == 2  # the teacher's stand there once


@pytest.mark.parametrize(("epoch", "decay"), [(0.0, 0.9), (9.9, 0.9), (10.0, 0.99), (50.0, 0.99)])
def test_after_step_is_eq_2_with_the_decay_of_its_phase(epoch: float, decay: float) -> None:
    run = tiny_run("mean_teacher", options__rampup_epochs=10, options__ema_decay_rampup=0.9, options__ema_decay=0.99)
    method = tiny_method(run)
    assert isinstance(method, MeanTeacher)
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(torch.randn_like(p))
    before = {name: value.clone() for name, value in method.teacher.network.state_dict().items()}
    method.loss(replace(tiny_batch(method), epoch=epoch))
    unmoved = method.teacher.network.state_dict()
    assert all(torch.equal(value, unmoved[name]) for name, value in before.items())
    method.after_step(0)
    student = method.student.state_dict()
    for name, value in method.teacher.network.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, decay * before[name] + (1 - decay) * student[name], atol=1e-5), name
        else:
            assert torch.equal(value, student[name])


def test_a_model_to_start_from_reaches_the_student(tmp_path: Path) -> None:
    source = tiny_method(tiny_run("supervised"), seed=3)
    save_model(tmp_path / "model.pt", source.config, ["a", "b", "c"], source, source.predictor)
    method = tiny_method(tiny_run("mean_teacher"))
    assert isinstance(method, MeanTeacher)
    remarks = method.start({"init": tmp_path / "model.pt"}, {})
    assert any("model.pt" in remark for remark in remarks)
    weights = {name: value for name, value in source.predictor.state_dict().items() if not name.startswith("fc.")}
    for network in (method.student, method.teacher.network):
        state = network.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in weights.items())
    assert all(p.requires_grad for p in method.student.parameters())


# --- MvPL -----------------------------------------------------------------------------------------

ALL = ["rgb", "tg", "flow"]


def mvpl(views: list[str] = ALL, **changes: Any) -> Method:
    return tiny_method(tiny_run("mvpl", options__views=views, **changes))


@pytest.mark.parametrize("average_of", ["probabilities", "logits"])
def test_fusion_against_loops(average_of: Any) -> None:
    logits = {m: random_logits(4, 5, seed=seed) for seed, m in enumerate(ALL)}
    average = view_targets(logits, "average", average_of)
    own = view_targets(logits, "self", average_of)
    for m in ALL:
        for j in range(4):
            rows = [logits[name][j].tolist() for name in ALL]
            if average_of == "logits":
                expected = softmax_loop([sum(column) / 3 for column in zip(*rows, strict=True)])
            else:
                expected = [sum(column) / 3 for column in zip(*map(softmax_loop, rows), strict=True)]
            assert average[m][j].tolist() == pytest.approx(expected, rel=1e-9)
            assert own[m][j].tolist() == pytest.approx(softmax_loop(logits[m][j].tolist()), rel=1e-9)


def test_random_fusion_draws_another_view_for_each_clip() -> None:
    logits = {m: random_logits(40, 5, seed=seed) for seed, m in enumerate(ALL)}
    torch.manual_seed(0)
    targets = view_targets(logits, "random", "probabilities")
    for m in ALL:
        sources = []
        for j in range(40):
            row = targets[m][j].tolist()
            (source,) = (n for n in ALL if row == pytest.approx(softmax_loop(logits[n][j].tolist()), rel=1e-9))
            sources.append(source)
        assert set(sources) == set(ALL) - {m}
        assert 8 < sources.count(next(n for n in ALL if n != m)) < 32
    two = {m: logits[m] for m in ("rgb", "tg")}
    swapped = view_targets(two, "random", "probabilities")
    assert torch.equal(swapped["rgb"], two["tg"].softmax(dim=1))
    assert torch.equal(swapped["tg"], two["rgb"].softmax(dim=1))


@pytest.mark.parametrize("views", [["rgb"], ["rgb", "tg"], ALL])
def test_each_view_weighs_the_same(views: list[str]) -> None:
    weights = mvpl(views, options__lambda_u=2).weights(1e9)
    assert weights == pytest.approx(
        {f"labelled_{m}": 1 / len(views) for m in views} | {f"unlabelled_{m}": 2 / len(views) for m in views}
    )
    before = mvpl(views, train__supervised_warmup_epochs=3).weights(2.9)
    assert [before[f"unlabelled_{m}"] for m in views] == [0] * len(views)


def test_views_have_one_order_and_rgb_among_them() -> None:
    assert tiny_run("mvpl", options__views=["flow", "rgb"]) == tiny_run("mvpl", options__views=["rgb", "flow"])
    for wrong, told in ((["tg"], "`rgb` is missing"), (["rgb", "rgb"], "named twice"), ([], "`rgb` is missing")):
        with pytest.raises(UserError, match=told):
            tiny_run("mvpl", options__views=wrong)
    with pytest.raises(UserError, match="one view only"):
        tiny_run("mvpl", options__views=["rgb"], options__fusion="random")


def test_of_one_view_mvpl_is_fixmatch() -> None:
    method, fixmatch = mvpl(["rgb"]), tiny_method(tiny_run("fixmatch"))
    fixmatch.predictor.load_state_dict(method.predictor.state_dict())
    batch = tiny_batch(method)
    terms, expected = method.loss(batch), fixmatch.loss(batch)
    assert torch.equal(terms["labelled_rgb"], expected["labelled"])
    assert torch.equal(terms["unlabelled_rgb"], expected["unlabelled"])


@pytest.mark.parametrize("fusion", ["average", "self"])
@pytest.mark.parametrize("strong_pass", ["joint", "own"])
@pytest.mark.parametrize("view_pass", ["joint", "own"])
def test_each_view_is_labelled_by_the_fused_weak_predictions(fusion: str, strong_pass: str, view_pass: str) -> None:
    """Evaluation mode: the pass composition decides batch statistics alone."""
    changes = {"options__fusion": fusion, "options__strong_pass": strong_pass, "options__view_pass": view_pass}
    method = mvpl(options__threshold=0.34, **changes).eval().double()
    batch = tiny_batch(method)
    batch = replace(batch, clips={view: 3 * clip.double() for view, clip in batch.clips.items()})
    logits = {view: method.predictor(clip).tolist() for view, clip in batch.clips.items()}
    weak = {m: [softmax_loop(row) for row in logits[View("unlabelled", m, "weak")]] for m in ALL}  # type: ignore[arg-type]
    terms = method.loss(batch)
    for m in ALL:
        expected = 0.0
        for j, row in enumerate(logits[View("unlabelled", m, "strong")]):  # type: ignore[arg-type]
            fused = [sum(column) / 3 for column in zip(*(weak[n][j] for n in ALL), strict=True)]
            label = fused if fusion == "average" else weak[m][j]
            if max(label) >= 0.34:
                expected -= math.log(softmax_loop(row)[label.index(max(label))]) / 3
        assert terms[f"unlabelled_{m}"].item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert torch.allclose(method.predictions["predictor"], torch.tensor(weak["rgb"]).double(), atol=1e-6)


@pytest.mark.parametrize(("view_pass", "meets"), [("joint", True), ("own", False)])
def test_views_that_pass_by_themselves_have_their_own_batch_statistics(view_pass: str, meets: bool) -> None:
    method = mvpl(options__view_pass=view_pass)
    batch = tiny_batch(method)
    louder = {f"labelled_{m}_weak_0": 50 * batch.clips[View("labelled", m, "weak")] for m in ("tg", "flow")}  # type: ignore[arg-type]
    before = method.loss(batch)["labelled_rgb"].item()
    after = method.loss(changed(batch, **louder))["labelled_rgb"].item()
    assert (after != pytest.approx(before)) == meets


def test_one_network_learns_from_every_view() -> None:
    method = mvpl(options__threshold=0)
    batch = tiny_batch(method)
    assert {name.partition(".")[0] for name in method.state_dict()} == {"predictor"}
    terms = method.loss(batch)
    assert all(gradients(method, term)["predictor"] > 0 for term in terms.values())
    weak = {view: clip.requires_grad_() for view, clip in batch.clips.items() if view.strength == "weak"}
    method.eval()
    terms = method.loss(batch)
    torch.stack([terms[f"unlabelled_{m}"] for m in ALL]).sum().backward()
    # with running statistics, nothing but the labels leads from the weak clips to the loss on the strong ones
    assert all(clip.grad is None or clip.grad.abs().sum() == 0 for clip in weak.values())


def test_eval_mode_pseudo_labels_come_from_running_statistics() -> None:
    method = mvpl(options__pseudo_label_mode="eval", options__threshold=0)
    batch = tiny_batch(method)
    method.loss(batch)
    assert method.predictor.training
    expected = method.eval().predictor(batch.clips[View("unlabelled", "rgb", "weak")]).softmax(dim=1)
    assert torch.allclose(method.predictions["predictor"], expected, atol=1e-6)


def test_no_confident_clip_costs_nothing() -> None:
    method = mvpl(options__threshold=1.0)
    terms = method.loss(tiny_batch(method, unlabelled=1))
    assert [terms[f"unlabelled_{m}"].item() for m in ALL] == [0, 0, 0]
    assert method.stats["pseudo_rate"] == 0
    assert method.stats["pseudo_accuracy"].isnan()


def test_the_strong_pass_is_left_out_while_it_weighs_nothing() -> None:
    method = mvpl(options__strong_pass="own", train__supervised_warmup_epochs=2)
    batch = replace(tiny_batch(method), epoch=1.0)
    silent = {v: clip * float("nan") if v.strength == "strong" else clip for v, clip in batch.clips.items()}
    assert total(method, replace(batch, clips=silent)).isfinite()
