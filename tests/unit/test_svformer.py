"""Tube TokenMix, temporal warping and SVFormer's objective against loops written from the papers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_methods import tiny_batch, tiny_method, tiny_run, total
from torch import Tensor

from ssar.augment.temporal_warp import _sources, temporal_warp
from ssar.errors import UserError
from ssar.losses.token_mix import confident_one_hot, mix_labels, mix_tokens, token_mix_loss, tube_mask
from ssar.methods.base import View
from ssar.methods.svformer import SVFormer

CPU = torch.device("cpu")


def svformer(**options: Any) -> SVFormer:
    """At the tests' size; an option by its name, any other key with its group."""
    changes = {key if "__" in key else f"options__{key}": value for key, value in options.items()}
    return cast(SVFormer, tiny_method(tiny_run("svformer", **changes)))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax_loop(row: list[float]) -> list[float]:
    exps = [math.exp(value) for value in row]
    return [e / sum(exps) for e in exps]


# --- the mask -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999), clips=st.integers(1, 6), places=st.integers(1, 40), alpha=st.sampled_from([0.5, 10.0])
)
def test_the_mask_keeps_lambda_of_the_places_to_a_token(seed: int, clips: int, places: int, alpha: float) -> None:
    torch.manual_seed(seed)
    mask = tube_mask(clips, places, alpha, "sample", CPU)
    torch.manual_seed(seed)
    share = torch.distributions.Beta(alpha, alpha).sample((clips,))
    assert mask.shape == (clips, places)
    assert mask.sum(dim=1).tolist() == [round(x * places) for x in share.tolist()]


def test_one_mask_for_the_batch_or_one_for_each_clip() -> None:
    torch.manual_seed(0)
    shared, own = (tube_mask(8, 49, 10.0, per, CPU) for per in ("batch", "sample"))  # type: ignore[arg-type]
    assert (shared == shared[0]).all()
    assert len({tuple(row) for row in own.tolist()}) == 8


def test_places_are_kept_equally_often() -> None:
    torch.manual_seed(0)
    mask = tube_mask(4000, 5, 10.0, "sample", CPU)
    assert mask.float().mean(dim=0).tolist() == pytest.approx([0.5] * 5, abs=0.04)


# --- mixing ---------------------------------------------------------------------------------------


def test_tokens_come_from_one_or_the_other_in_all_frames() -> None:
    tokens, partner = numbers(3, 2, 4, 5), torch.tensor([2, 0, 1])
    mask = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])
    mixed = mix_tokens(tokens, partner, mask)
    for b in range(3):
        for t in range(2):
            for n in range(4):
                origin = b if mask[b, n] else partner[b]
                assert torch.equal(mixed[b, t, n], tokens[origin, t, n])


def test_mixing_with_the_inverse_mask_gives_the_rest_back() -> None:
    """M and 1 - M of a pair hold every token of both, once."""
    tokens, swapped = numbers(2, 3, 6, 4), torch.tensor([1, 0])
    mask = torch.rand(1, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    mask = mask.expand(2, 6)
    mixed = mix_tokens(tokens, swapped, mask)
    assert torch.equal(mix_tokens(mixed, swapped, mask), tokens)
    torch.testing.assert_close(mixed + mix_tokens(tokens, swapped, ~mask), tokens + tokens[swapped])


def test_labels_are_mixed_by_the_share_of_tokens_that_the_mask_keeps() -> None:
    label, partner = numbers(3, 4).softmax(dim=1), torch.tensor([1, 2, 0])
    mask = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    mixed = mix_labels(label, partner, mask)
    for b, share in enumerate([1 / 3, 2 / 3, 0.0]):
        expected = [
            share * x + (1 - share) * y for x, y in zip(label[b].tolist(), label[partner[b]].tolist(), strict=True)
        ]
        assert mixed[b].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_clip_whose_partner_is_itself_stays() -> None:
    tokens, label, itself = numbers(1, 2, 4, 3), numbers(1, 5).softmax(dim=1), torch.tensor([0])
    mask = tube_mask(1, 4, 10.0, "batch", CPU)
    assert torch.equal(mix_tokens(tokens, itself, mask), tokens)
    torch.testing.assert_close(mix_labels(label, itself, mask), label)


def test_confident_clips_have_one_hot_labels() -> None:
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25], [0.2, 0.3, 0.5]])
    expected = [[1.0, 0.0, 0.0], [pytest.approx(0.4), pytest.approx(0.35), 0.25], [0.0, 0.0, 1.0]]
    assert confident_one_hot(probabilities, 0.5).tolist() == expected


# --- its loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mse-probabilities", "mse-logits", "ce"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [0.0, 1.0, 0.25], [0.0, 0.0, 0.0]])
def test_token_mix_loss_is_its_definition(kind: Any, reduction: Any, weight: list[float]) -> None:
    logits, target = numbers(3, 4, seed=1), numbers(3, 4, seed=2).softmax(dim=1)
    expected = 0.0
    for row, y, w in zip(logits.tolist(), target.tolist(), weight, strict=True):
        if kind == "ce":
            expected -= w * sum(t * math.log(p) for t, p in zip(y, softmax_loop(row), strict=True)) / 3
        else:
            predicted = softmax_loop(row) if kind == "mse-probabilities" else row
            squared = sum((p - t) ** 2 for p, t in zip(predicted, y, strict=True))
            expected += w * squared / (3 * (4 if reduction == "mean" else 1))
    found = token_mix_loss(logits, target, torch.tensor(weight), kind, reduction)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ["mse-probabilities", "mse-logits", "ce"])
def test_gradient_reaches_the_students_logits_of_clips_with_a_weight_alone(kind: Any) -> None:
    logits = numbers(2, 3).requires_grad_()
    target = torch.full((2, 3), 1 / 3, dtype=torch.float64, requires_grad=True)
    token_mix_loss(logits, target, torch.tensor([1.0, 0.0]), kind, "sum").backward()
    assert target.grad is None
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0


def test_half_precision_logits_are_compared_in_float32() -> None:
    target = torch.full((2, 3), 1 / 3)
    assert token_mix_loss(torch.randn(2, 3).bfloat16(), target, torch.ones(2), "ce", "sum").dtype == torch.float32


# --- temporal warping -----------------------------------------------------------------------------


def times(count: int, frames: int) -> Tensor:
    """Clips whose pixels are the number of their frame."""
    return torch.arange(float(frames)).view(1, 1, frames, 1, 1).expand(count, 3, frames, 2, 2)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 9999),
    frames=st.integers(1, 9),
    kept=st.integers(1, 10),
)
def test_warped_clips_hold_so_many_frames_in_order(seed: int, frames: int, kept: int) -> None:
    torch.manual_seed(seed)
    clips = times(4, frames)
    warped = temporal_warp(clips, [kept], "nearest")
    assert warped.shape == clips.shape
    assert (warped == warped[:, :1, :, :1, :1]).all()  # whole frames
    for clip in warped[:, 0, :, 0, 0].tolist():
        assert clip == sorted(clip)
        visible = sorted(set(clip))
        assert len(visible) == min(kept, frames)
        assert clip == [min(visible, key=lambda v: (abs(v - t), v)) for t in range(frames)]
    assert torch.equal(clips, times(4, frames))  # the clips themselves are left alone


def released_fills(visible: list[int], frames: int) -> list[list[int]]:
    """Every clip that SVFormer's code makes of the frames kept, as often as it does."""
    fills = [[visible[0]] * visible[0]]
    for start, end in itertools.pairwise(visible):
        turns = [end] if end == start + 1 else range(start, end + 1)
        fills = [[*fill, *[start] * (turn - start), *[end] * (end - turn)] for fill in fills for turn in turns]
    return [[*fill, *[visible[-1]] * (frames - visible[-1])] for fill in fills]


@pytest.mark.parametrize("visible", [[1, 4, 5], [0, 7], [2, 4, 7], [3], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_random_fills_are_the_released_ones_and_equally_likely(visible: list[int]) -> None:
    torch.manual_seed(0)
    kept = torch.tensor([[t in visible for t in range(8)]]).expand(6000, -1)
    found = Counter(tuple(clip) for clip in _sources(kept, "random").tolist())
    expected = Counter(tuple(fill) for fill in released_fills(visible, 8))
    assert found.keys() == expected.keys()
    for clip, count in found.items():
        assert count / 6000 == pytest.approx(expected[clip] / expected.total(), abs=0.03)


def test_numbers_of_frames_and_frames_are_equally_likely() -> None:
    torch.manual_seed(0)
    warped = temporal_warp(times(3000, 8), [2, 4, 8], "nearest")[:, 0, :, 0, 0]
    kept = Counter(len(set(clip)) for clip in warped.tolist())
    assert [kept[number] / 3000 for number in (2, 4, 8)] == pytest.approx([1 / 3] * 3, abs=0.04)
    single = temporal_warp(times(4000, 4), [1], "nearest")[:, 0, 0, 0, 0]
    assert set(single.tolist()) == {0, 1, 2, 3}
    assert single.mean().item() == pytest.approx(1.5, abs=0.08)


# --- the method -----------------------------------------------------------------------------------


def test_terms_and_weights() -> None:
    method = svformer(w_unlabelled=3, w_mix=5, train__supervised_warmup_epochs=2)
    assert method.loss(tiny_batch(method)).keys() == {"labelled", "unlabelled", "mix"}
    assert method.weights(2) == {"labelled": 1, "unlabelled": 3, "mix": 5}
    assert method.weights(1.9) == {"labelled": 1, "unlabelled": 0, "mix": 0}
    plain = svformer(w_mix=0)
    assert plain.loss(tiny_batch(plain)).keys() == plain.weights(9).keys() == {"labelled", "unlabelled"}


def probabilities_of(logits: Tensor) -> list[list[float]]:
    return [softmax_loop(row) for row in logits.double().tolist()]


@pytest.mark.parametrize("mix_label", ["soft", "confident-hard"])
@pytest.mark.parametrize("mix_confident", ["none", "share"])
def test_the_terms_are_their_definitions(mix_label: str, mix_confident: str) -> None:
    """Everything from the networks on in loops; the random draws are repeated in the method's order."""
    method = svformer(
        mix_label=mix_label, mix_confident=mix_confident, mix_mask="batch", warp_frames=[], threshold=0.465
    )
    student, teacher = method.student, method.teacher.network
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():  # a teacher of its own opinions
        for name, parameter in teacher.named_parameters():
            scale = 0.15 if name.startswith("fc") else 0.5
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    batch = tiny_batch(method, unlabelled=6)
    torch.manual_seed(7)
    terms = method.loss(batch)

    torch.manual_seed(7)
    partner = torch.randperm(6).tolist()
    places = (16 // 8) ** 2
    mask = tube_mask(6, places, 10.0, "batch", CPU)[0].tolist()
    weak, strong = (batch.clips[View("unlabelled", "rgb", strength)] for strength in ("weak", "strong"))  # type: ignore[arg-type]
    p = probabilities_of(teacher(weak))
    confident = [max(row) >= 0.465 for row in p]
    assert 0 < sum(confident) < 6, "the example should have clips of both kinds"
    on_strong = probabilities_of(student(strong))
    unlabelled = -sum(math.log(s[q.index(max(q))]) for s, q, c in zip(on_strong, p, confident, strict=True) if c) / 6
    assert terms["unlabelled"].item() == pytest.approx(unlabelled, rel=1e-4)
    on_labelled = probabilities_of(student(batch.clips[View("labelled", "rgb", "weak")]))
    labelled = -sum(math.log(s[y]) for s, y in zip(on_labelled, batch.label.tolist(), strict=True)) / len(batch.label)
    assert terms["labelled"].item() == pytest.approx(labelled, rel=1e-4)

    # a square of the frame is a patch: mixing tokens after their embedding is mixing squares of the clips
    pasted = strong.clone()
    for b in range(6):
        for n, own in enumerate(mask):
            if not own:
                rows, columns = slice(8 * (n // 2), 8 * (n // 2) + 8), slice(8 * (n % 2), 8 * (n % 2) + 8)
                pasted[b, :, :, rows, columns] = strong[partner[b], :, :, rows, columns]
    on_mixed = probabilities_of(student(pasted))
    y = p
    if mix_label == "confident-hard":
        y = [[float(x == max(q)) for x in q] if c else q for q, c in zip(p, confident, strict=True)]
    share, expected = sum(mask) / places, 0.0
    for b in range(6):
        weight = 1.0
        if mix_confident == "share":
            weight = share * confident[b] + (1 - share) * confident[partner[b]]
        for s, mine, other in zip(on_mixed[b], y[b], y[partner[b]], strict=True):
            expected += weight * (s - share * mine - (1 - share) * other) ** 2 / 6
    assert terms["mix"].item() == pytest.approx(expected, rel=1e-4)


def test_no_term_gives_the_teacher_a_gradient() -> None:
    method = svformer(threshold=0)
    for term in method.loss(tiny_batch(method)).values():
        method.zero_grad(set_to_none=True)
        term.backward(retain_graph=True)
        assert any(p.grad is not None and p.grad.any() for p in method.student.parameters())
        assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert not method.predictions["teacher"].requires_grad


def test_views_decide_the_terms() -> None:
    """Weak clips label, and are not learnt from; labelled clips are not mixed."""
    method = svformer(threshold=0)
    batch = tiny_batch(method)

    def terms(changed: View | None = None) -> dict[str, float]:
        clips = {view: x.flip(-1) if view == changed else x for view, x in batch.clips.items()}
        torch.manual_seed(0)
        return {name: term.item() for name, term in method.loss(replace(batch, clips=clips)).items()}

    before = terms()
    moved = {
        view: {name for name, x in terms(view).items() if x != pytest.approx(before[name], rel=1e-6)}
        for view in method.views
    }
    assert moved == {
        View("labelled", "rgb", "weak"): {"labelled"},
        View("unlabelled", "rgb", "weak"): moved[View("unlabelled", "rgb", "weak")] & {"unlabelled", "mix"},
        View("unlabelled", "rgb", "strong"): {"unlabelled", "mix"},
    }
    assert "mix" in moved[View("unlabelled", "rgb", "weak")]


def test_the_teacher_follows_the_student() -> None:
    method = svformer(ema=0.9)
    before = {name: x.clone() for name, x in method.teacher.network.state_dict().items()}
    with torch.no_grad():
        for parameter in method.student.parameters():
            parameter.add_(1)
    method.after_step(0)
    for name, x in method.teacher.network.state_dict().items():
        torch.testing.assert_close(x, 0.9 * before[name] + 0.1 * (before[name] + 1))


@pytest.mark.parametrize("evaluate", ["student", "teacher"])
def test_either_network_is_evaluated_and_both_start_alike(evaluate: str, tmp_path: Path) -> None:
    method = svformer(evaluate=evaluate)
    assert method.predictor is (method.student if evaluate == "student" else method.teacher.network)
    other = {name: x + 1 for name, x in method.predictor.state_dict().items()}
    torch.save({"predictor": other}, tmp_path / "model.pt")
    (remark,) = method.start({"init": tmp_path / "model.pt"}, {})
    assert "initialised" in remark
    student, teacher = method.student.state_dict(), method.teacher.network.state_dict()
    assert all(torch.equal(x, teacher[name]) for name, x in student.items())
    assert torch.equal(student["cls_token"], other["cls_token"])


@pytest.mark.parametrize("strong_pass", ["joint", "own"])
def test_a_network_without_tokens_serves_without_token_mix(strong_pass: str) -> None:
    with pytest.raises(UserError, match=r"model\.arch"):
        svformer(model__arch="resnet3d")
    method = svformer(model__arch="resnet3d", w_mix=0, strong_pass=strong_pass)
    total(method, tiny_batch(method)).backward()
    assert all(p.grad is not None for p in method.student.parameters())


def test_both_passes_are_the_same_where_there_are_no_batch_statistics() -> None:
    values = []
    for strong_pass in ("joint", "own"):
        method = svformer(w_mix=0, strong_pass=strong_pass, warp_frames=[], threshold=0)
        values.append([term.item() for term in method.loss(tiny_batch(method)).values()])
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_warping_reaches_the_strong_clips_alone() -> None:
    """Clips that stand still are not changed by it; moving ones are."""
    method = svformer(warp_frames=[1], threshold=0)
    batch = tiny_batch(method)
    plain = svformer(warp_frames=[], threshold=0)
    plain.load_state_dict(method.state_dict())
    with torch.no_grad():  # so that time counts
        for network in (method.student, plain.student):
            network.time_embed.copy_(torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(3)))  # type: ignore[union-attr,operator]
    one, other = method.loss(batch), plain.loss(batch)
    assert one["labelled"].item() == pytest.approx(other["labelled"].item(), rel=1e-5)
    assert one["unlabelled"].item() != pytest.approx(other["unlabelled"].item(), rel=1e-5)
    still = {view: x[:, :, :1].expand_as(x) for view, x in batch.clips.items()}
    one, other = (m.loss(replace(batch, clips=still)) for m in (method, plain))
    assert one["unlabelled"].item() == pytest.approx(other["unlabelled"].item(), rel=1e-5)


def test_released_strong_clips_come_from_a_window_of_their_own() -> None:
    run = tiny_run("svformer", variant="as-released")
    assert [window.name for window in run.options.windows("unlabelled", 8, 8)] == ["strong"]
    assert run.options.windows("unlabelled", 8, 8)[0].shift is None
    assert run.options.windows("labelled", 8, 8) == ()
    assert View("unlabelled", "rgb", "strong", "strong") in tiny_method(run).views
    assert tiny_run("svformer").options.windows("unlabelled", 8, 8) == ()
