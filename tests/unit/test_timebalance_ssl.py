"""TimeBalance's self-supervised pretraining, and rotation prediction, beyond what holds for every method."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from tiny_methods import tiny_batch, tiny_method, tiny_run, total
from torch import Tensor, nn

from ssar.errors import UserError
from ssar.losses.temporal_contrast import contrastive_loss, distinctive_pairs, invariant_pairs, unpooled_pairs
from ssar.methods.base import View
from ssar.methods.options import PretrainingOptions
from ssar.methods.rotation_ssl import Rotation
from ssar.methods.timebalance_ssl import WITH_POSITIVE, Pretraining, time_slices
from ssar.models.heads import MLP

TERMS = ("invariant", "distinctive", "unpooled")
OF_TEACHER = {"invariant": ("invariant",), "distinctive": ("distinctive", "unpooled"), "student": TERMS}


def pretraining(terms: tuple[str, ...] = TERMS, **changes: Any) -> Pretraining:
    weights = {f"options__w_{term}": 1.0 if term in terms else 0.0 for term in TERMS}
    method = tiny_method(tiny_run("timebalance_ssl", options__projection=[16, 8], **{**weights, **changes}))
    assert isinstance(method, Pretraining)
    return method


def options(**changes: Any) -> PretrainingOptions:
    found = tiny_run("timebalance_ssl", **{f"options__{key}": value for key, value in changes.items()}).options
    assert isinstance(found, PretrainingOptions)
    return found


# --- clips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 4])
def test_windows_are_consecutive_and_the_global_one_covers_them(n: int) -> None:
    windows = {window.name: window for window in options(clips=n).windows("unlabelled", 16, 2)}
    assert set(windows) == {f"clip{k}" for k in range(1, n)} | {"global"}
    starts = {0: 0} | {k: windows[f"clip{k}"].shift for k in range(1, n)}
    spans = [set(range(start, start + 16 * 2)) for start in starts.values() if start is not None]
    assert sorted(frame for span in spans for frame in span) == list(range(n * 16 * 2)), "no gap and no overlap"
    long = windows["global"]
    assert (long.frames, long.shift) == (16, 0)
    frames = [k * long.stride for k in range(long.frames)]
    for t, span in enumerate(spans):  # slice t of the long clip lies within short clip t
        assert span.issuperset(frames[t * 16 // n : (t + 1) * 16 // n])


def test_windows_are_of_the_unlabelled_videos_and_only_what_the_terms_read() -> None:
    assert options().windows("labelled", 16, 1) == ()
    names = [window.name for window in options(w_unpooled=0).windows("unlabelled", 16, 1)]
    assert names == ["clip1", "clip2", "clip3"]


@pytest.mark.parametrize(
    ("terms", "changes", "clips"),
    [
        (("invariant",), {}, 4),
        (("invariant",), {"options__invariant_copies": 2}, 8),
        (("invariant",), {"options__clips": 2}, 2),
        (("distinctive",), {}, 8),
        (("distinctive", "unpooled"), {}, 10),
        (("distinctive", "unpooled"), {"options__clips": 2}, 6),
        (TERMS, {}, 10),
    ],
)
def test_views_are_what_the_terms_read(terms: tuple[str, ...], changes: dict[str, Any], clips: int) -> None:
    method = pretraining(terms, **changes)
    assert len(set(method.views)) == len(method.views) == clips
    assert {view.clip for view in method.views} == {"main"} | {
        window.name for window in method.options.windows("unlabelled", 4, 2)
    }
    assert {(view.stream, view.modality, view.strength) for view in method.views} == {("unlabelled", "rgb", "weak")}


# --- terms ----------------------------------------------------------------------------------------


def embed(method: Pretraining, clips: Tensor) -> Tensor:
    return method.projection(method.predictor.features(clips))


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("denominator", ["printed", "with-positive", "negatives"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_terms_are_the_losses_of_clips_embedded_one_by_one(n: int, denominator: str, reduction: Any) -> None:
    """Evaluation mode, so that clips do not meet in batch statistics."""
    method = pretraining(
        options__clips=n,
        options__denominator=denominator,
        options__reduction=reduction,
        options__temperature=0.3,
        options__invariant_copies=2,
    ).eval()
    batch = tiny_batch(method)
    names = ["main", "clip1", "clip2", "clip3"][:n]

    def view(name: str, copy: int) -> Tensor:
        return batch.clips[View("unlabelled", "rgb", "weak", name, copy)]

    z = [torch.stack([embed(method, view(name, copy)) for name in names], dim=1) for copy in (0, 1)]
    slices = []
    for copy in (0, 1):
        last = method.predictor.forward_all(view("global", copy)).stages[-1]  # 4 places in time
        parts = [last[:, :, t * 4 // n : (t + 1) * 4 // n].mean(dim=(2, 3, 4)) for t in range(n)]
        slices.append(torch.stack([method.projection(part) for part in parts], dim=1))

    def loss(term: str, pairs: Any) -> Tensor:
        with_positive = WITH_POSITIVE[denominator][term]
        return contrastive_loss(pairs, 0.3, with_positive=with_positive, reduction=reduction)

    unpooled = [loss("unpooled", unpooled_pairs(z[a], slices[b])) for a, b in product((0, 1), (0, 1))]
    expected = {
        "invariant": loss("invariant", invariant_pairs(torch.cat(z, dim=1))),
        "distinctive": loss("distinctive", distinctive_pairs(z[0], z[1])),
        "unpooled": torch.stack(unpooled).mean(),
    }
    terms = method.loss(batch)
    assert terms.keys() == expected.keys()
    for term, value in expected.items():
        torch.testing.assert_close(terms[term], value, rtol=1e-4, atol=1e-5)


def test_the_invariant_teacher_sees_one_augmentation() -> None:
    method = pretraining(("invariant",)).eval()
    batch = tiny_batch(method)
    z = torch.stack([embed(method, batch.clips[view]) for view in method.views], dim=1)
    expected = contrastive_loss(invariant_pairs(z), 0.1, with_positive=True, reduction="sum")
    torch.testing.assert_close(method.loss(batch)["invariant"], expected, rtol=1e-4, atol=1e-5)


def test_the_printed_denominators() -> None:
    """Eq. 1: the indicator is on one of two terms. Eq. 3: the sum is over other timestamps."""
    assert WITH_POSITIVE["printed"] == {"invariant": True, "distinctive": False, "unpooled": True}
    assert set(WITH_POSITIVE["with-positive"].values()) == {True}
    assert set(WITH_POSITIVE["negatives"].values()) == {False}


@pytest.mark.parametrize("teacher", OF_TEACHER)
def test_weightless_terms_are_not_computed_and_every_trainable_parameter_learns(teacher: str) -> None:
    terms = OF_TEACHER[teacher]
    method = pretraining(terms)
    batch = tiny_batch(method)
    found = method.loss(batch)
    assert found.keys() == method.weights(0).keys() == set(terms)
    for term in found.values():  # each term by itself reaches the network and the head
        method.zero_grad(set_to_none=True)
        term.backward(retain_graph=True)
        learns = {name for name, p in method.named_parameters() if p.grad is not None}
        assert learns == {name for name, p in method.named_parameters() if p.requires_grad}
        assert method.predictor.fc.weight.grad is None
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert frozen == {"predictor.fc.weight", "predictor.fc.bias"}


def test_weights_are_the_options() -> None:
    method = pretraining(options__w_invariant=2, options__w_distinctive=0.5, options__w_unpooled=3)
    assert method.weights(7.0) == {"invariant": 2.0, "distinctive": 0.5, "unpooled": 3.0}


def test_nothing_to_learn_and_a_single_clip_are_refused() -> None:
    with pytest.raises(UserError, match="nothing to learn"):
        options(w_invariant=0, w_distinctive=0, w_unpooled=0)
    with pytest.raises(UserError, match="clips"):
        options(clips=1)


def test_one_video_teaches_no_invariance_and_still_distinctiveness() -> None:
    method = pretraining()
    terms = method.loss(tiny_batch(method, unlabelled=1, side=64))
    assert terms["invariant"].item() == pytest.approx(0, abs=1e-5)
    assert terms["unpooled"].item() != 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_a_video_shorter_than_a_clip_stays_finite() -> None:
    """All its clips are the same frames; only the augmentation differs, and here not even that."""
    method = pretraining()
    batch = tiny_batch(method)
    clip = batch.clips[method.views[0]]
    loss = total(method, replace(batch, clips=dict.fromkeys(method.views, clip)))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_statistics_are_of_each_term() -> None:
    method = pretraining()
    method.loss(tiny_batch(method))
    stats = ("positive_similarity", "negative_similarity", "retrieval")
    assert method.stats.keys() == {f"{stat}_{term}" for stat in stats for term in TERMS}
    assert all(-1 <= x.item() <= 1 for x in method.stats.values())


# --- unpooled features ----------------------------------------------------------------------------


def test_time_slices_are_means_over_space_and_parts_of_time() -> None:
    last = torch.arange(2 * 3 * 8 * 2 * 2, dtype=torch.float64).view(2, 3, 8, 2, 2)
    slices = time_slices(last, 4)
    assert slices.shape == (2, 4, 3)
    for video, t, channel in product(range(2), range(4), range(3)):
        values = last[video, channel, 2 * t : 2 * t + 2].flatten().tolist()
        assert slices[video, t, channel].item() == pytest.approx(math.fsum(values) / 8)


def test_every_place_in_time_belongs_to_one_slice() -> None:
    assert time_slices(torch.arange(5.0).view(1, 1, 5, 1, 1), 2).flatten().tolist() == [1.0, 3.5]


def test_too_few_places_in_time_are_told_with_what_to_change() -> None:
    method = pretraining(model__temporal_strides=[1, 2, 2, 2])
    with pytest.raises(UserError, match=r"has 1 places in time.*temporal_strides"):
        method.loss(tiny_batch(method))
    halved = pretraining(model__temporal_strides=[1, 2, 1, 1], options__clips=2)
    assert halved.loss(tiny_batch(halved))["unpooled"].isfinite()


# --- projection head ------------------------------------------------------------------------------


def test_projection_head_is_b12() -> None:
    head = MLP(2048, 512, 128)
    assert sum(p.numel() for p in head.parameters()) == 2048 * 512 + 512 + 2 * 512 + 512 * 128 + 2 * 128 == 1_115_904
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert [type(layer) for layer in head] == kinds
    assert [name for name, _ in head.named_parameters()] == [
        "0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias"
    ]  # fmt: skip
    assert head(torch.randn(3, 2048)).shape == (3, 128)


def test_released_projection_head_is_smaller() -> None:
    assert sum(p.numel() for p in MLP(2048, 128, 128).parameters()) == 279_168


def test_the_head_is_in_the_methods_weights_under_its_name() -> None:
    method = pretraining()
    width = method.predictor.width
    shapes = {n: tuple(x.shape) for n, x in method.state_dict().items() if n.startswith("projection.") and x.dim() == 2}
    assert shapes == {"projection.0.weight": (16, width), "projection.3.weight": (8, 16)}


# --- rotation -------------------------------------------------------------------------------------


def rotation() -> Rotation:
    method = tiny_method(tiny_run("rotation_ssl"))
    assert isinstance(method, Rotation)
    return method


def test_rotation_is_cross_entropy_over_four_turns_of_every_clip() -> None:
    method = rotation().eval()
    batch = tiny_batch(method)
    clips = batch.clips[method.view]
    costs = []
    for clip, turns in product(clips, range(4)):
        turned = torch.stack([frame.rot90(turns, (1, 2)) for frame in clip.unbind(1)], dim=1)
        logits = method.rotation(method.predictor.features(turned[None]))[0].tolist()
        costs.append(math.log(sum(math.exp(x) for x in logits)) - logits[turns])
    assert method.loss(batch)["rotation"].item() == pytest.approx(sum(costs) / len(costs), rel=1e-4)


def test_rotation_trains_all_but_the_classifier() -> None:
    method = rotation()
    total(method, tiny_batch(method)).backward()
    untouched = {name for name, p in method.named_parameters() if p.grad is None}
    assert untouched == {"predictor.fc.weight", "predictor.fc.bias"}
    assert method.rotation.out_features == 4
    assert method.config.options.windows("unlabelled", 16, 1) == ()
