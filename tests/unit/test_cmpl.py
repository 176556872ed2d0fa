"""CMPL: the objective against loops, where gradients go, its clips and networks, and the paper's declarations."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest
import torch
from tiny_methods import tiny_batch, tiny_method, tiny_run, total
from torch import Tensor, nn

from ssar.config import Augment, ModelConfig, OptimConfig, RunConfig
from ssar.errors import UserError
from ssar.experiments import load_paper
from ssar.grid import Grid, build
from ssar.methods.base import Batch, View, evaluated
from ssar.methods.cmpl import CMPL, auxiliary_model
from ssar.methods.options import CMPLOptions, Window
from ssar.methods.options.cmpl import Auxiliary
from ssar.models.build import build as build_network
from ssar.models.resnet3d import ResNet3d
from ssar.project import CONFIG

SHARED = {"options__auxiliary": {"shared": True, "width": 1}}
SAME_CLIP = {"options__auxiliary_frames": 4, "options__auxiliary_stride": 2, "options__time_offset": 0}
OFF = {"labelled": "options__labelled_auxiliary", "unlabelled": "options__unlabelled_auxiliary"}


def cmpl(**changes: Any) -> CMPL:
    return cast(CMPL, tiny_method(tiny_run("cmpl", **changes)))


def opinionated(method: CMPL, primary: list[float], auxiliary: list[float]) -> CMPL:
    """Networks whose predictions are the same for all clips: the softmax of these logits."""
    with torch.no_grad():
        for network, logits in ((method.predictor, primary), (method.auxiliary, auxiliary)):
            network.fc.weight.zero_()
            network.fc.bias.copy_(torch.tensor(logits))
    return method


def touched(method: CMPL, term: Tensor) -> set[str]:
    """The networks that a term gives any gradient."""
    method.zero_grad(set_to_none=True)
    term.backward(retain_graph=True)
    given = [name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    return {name.partition(".")[0] for name in given}


# --- the objective --------------------------------------------------------------------------------


def log_softmax_loop(row: list[float]) -> list[float]:
    return [value - math.log(sum(math.exp(other) for other in row)) for value in row]


def objective_loop(method: CMPL, batch: Batch, tau: float) -> dict[str, float]:
    """Eq. 2 to 5 clip by clip, from one network and one clip at a time; evaluation mode."""

    def log_p(network: str, view: View, i: int) -> list[float]:
        with torch.no_grad():
            logits = getattr(method, network)(batch.clips[view][i : i + 1])
        return log_softmax_loop(logits[0].double().tolist())

    networks = {"": ("predictor", "main"), "_auxiliary": ("auxiliary", "auxiliary")}
    terms = dict.fromkeys([f"{term}{name}" for name in networks for term in ("labelled", "unlabelled")], 0.0)
    for name, sibling in (("", "_auxiliary"), ("_auxiliary", "")):
        network, window = networks[name]
        for i, label in enumerate(batch.label.tolist()):
            terms[f"labelled{name}"] -= log_p(network, View("labelled", "rgb", "weak", window), i)[label]
        terms[f"labelled{name}"] /= len(batch.label)
        view = View("unlabelled", "rgb", "weak", networks[sibling][1])
        for i in range(len(batch.clips[view])):
            p = [math.exp(x) for x in log_p(networks[sibling][0], view, i)]
            if max(p) >= tau:
                strong = log_p(network, View("unlabelled", "rgb", "strong", window), i)
                terms[f"unlabelled{name}"] -= strong[p.index(max(p))]
        terms[f"unlabelled{name}"] /= len(batch.clips[view])
    return terms


@pytest.mark.parametrize("tau", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("strong_pass", ["joint", "own"])
def test_terms_are_eq_2_to_5_and_their_sum_is_eq_6(tau: float, strong_pass: str) -> None:
    method = cmpl(options__threshold=tau, options__strong_pass=strong_pass, options__lambda_u=2.5).eval()
    with torch.no_grad():  # predictions far enough apart for the thresholds to divide them
        method.predictor.fc.weight.mul_(40)
        method.auxiliary.fc.weight.mul_(40)
    batch = tiny_batch(method, unlabelled=6)
    expected = objective_loop(method, batch, tau)
    terms = method.loss(batch)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    if tau == 0.8:
        assert all(0 < method.stats[f"pseudo_rate{name}"] < 1 for name in ("", "_auxiliary"))
    supervised = expected["labelled"] + expected["labelled_auxiliary"]
    unlabelled = expected["unlabelled"] + expected["unlabelled_auxiliary"]
    assert total(method, batch).item() == pytest.approx(supervised + 2.5 * unlabelled, rel=1e-4)


def test_each_term_trains_its_own_network_alone() -> None:
    method = cmpl(options__threshold=0)
    terms = method.loss(tiny_batch(method))
    assert touched(method, terms["labelled"]) == touched(method, terms["unlabelled"]) == {"predictor"}
    assert touched(method, terms["labelled_auxiliary"]) == {"auxiliary"}
    assert touched(method, terms["unlabelled_auxiliary"]) == {"auxiliary"}


SURE, UNSURE = [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("source", "primary_learns", "auxiliary_learns"),
    [
        ("cross", False, True),
        ("self-first", True, True),
        ("opposite-first", True, True),
        ("maximum", True, True),
        ("average", False, False),
    ],
)
def test_who_learns_where_the_primary_network_alone_is_sure(
    source: str, primary_learns: bool, auxiliary_learns: bool
) -> None:
    method = opinionated(cmpl(options__label_source=source), SURE, UNSURE)
    terms = method.loss(tiny_batch(method))
    assert bool(terms["unlabelled"] > 0) == bool(method.stats["pseudo_rate"] == 1) == primary_learns
    assert bool(terms["unlabelled_auxiliary"] > 0) == auxiliary_learns
    assert bool(method.stats["pseudo_rate_auxiliary"] == 1) == auxiliary_learns


def test_without_a_confident_clip_labels_alone_teach() -> None:
    method = opinionated(cmpl(), UNSURE, UNSURE)
    batch = tiny_batch(method)
    terms = method.loss(batch)
    assert terms["unlabelled"] == terms["unlabelled_auxiliary"] == 0
    total(method, batch).backward()
    gradients = [p.grad for p in method.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_truth_changes_statistics_and_no_term() -> None:
    method = cmpl(options__threshold=0).eval()
    batch = tiny_batch(method)
    terms, stats = method.loss(batch), dict(method.stats)
    assert batch.truth is not None
    said = method.predictions["auxiliary"].argmax(dim=1)
    other = method.loss(replace(batch, truth=said))
    assert all(torch.equal(terms[name], other[name]) for name in terms)
    assert stats["pseudo_correct"] < method.stats["pseudo_correct"] == 1
    method.loss(replace(batch, truth=None))
    known = {f"{name}{suffix}" for name in ("labelled_accuracy", "pseudo_rate") for suffix in ("", "_auxiliary")}
    assert method.stats.keys() == known


# --- statistics ---------------------------------------------------------------------------------------


def test_statistics_of_both_directions() -> None:
    """F is sure of class 0 and A of class 1."""
    method = opinionated(cmpl(), SURE, [0.0, 9.0, 0.0])
    method.loss(tiny_batch(method, unlabelled=4))  # truth 0, 1, 2, 0
    stats = {name: value.item() for name, value in method.stats.items()}
    assert stats["pseudo_rate"] == stats["pseudo_rate_auxiliary"] == 1
    assert stats["pseudo_accuracy"] == stats["pseudo_correct"] == 1 / 4, "F learns A's labels"
    assert stats["pseudo_accuracy_auxiliary"] == stats["pseudo_correct_auxiliary"] == 2 / 4
    assert stats["accuracy_where_auxiliary_is_sure"] == 2 / 4
    assert stats["accuracy_where_auxiliary_is_sure_auxiliary"] == 1 / 4


def test_shares_of_nothing_are_nan_and_shares_of_all_are_0() -> None:
    method = opinionated(cmpl(), UNSURE, UNSURE)
    method.loss(tiny_batch(method))
    for name in ("", "_auxiliary"):
        assert method.stats[f"pseudo_accuracy{name}"].isnan()
        assert method.stats[f"accuracy_where_auxiliary_is_sure{name}"].isnan()
        assert method.stats[f"pseudo_correct{name}"] == 0


def test_predictions_are_each_network_s_own() -> None:
    method = opinionated(cmpl(options__label_source="average"), SURE, UNSURE)
    method.loss(tiny_batch(method))
    for name, logits in (("predictor", SURE), ("auxiliary", UNSURE)):
        assert not method.predictions[name].requires_grad
        torch.testing.assert_close(method.predictions[name], torch.tensor([logits] * 3).softmax(dim=1))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_eval_mode_labels_come_from_running_statistics(mode: str) -> None:
    method = cmpl(options__pseudo_label_mode=mode)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 0.0  # the pass that is trained would move the statistics first
    batch = tiny_batch(method)
    method.loss(batch)
    for name, window in (("predictor", "main"), ("auxiliary", "auxiliary")):
        weak = batch.clips[View("unlabelled", "rgb", "weak", window)]
        expected = evaluated(getattr(method, name), weak).softmax(dim=1)
        assert torch.equal(method.predictions[name], expected) == (mode == "eval")
    assert method.predictor.training


# --- Table 6 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("strong_pass", ["joint", "own"])
@pytest.mark.parametrize("epoch", [0.0, 9.0])
def test_losses_of_the_auxiliary_network_are_left_out(off: str, strong_pass: str, epoch: float) -> None:
    """Also in a supervised warm-up every parameter has a gradient, which data parallel training waits for."""
    changes = {OFF[off]: False, "options__strong_pass": strong_pass, "train__supervised_warmup_epochs": 5}
    method = cmpl(**changes)
    gone = View("labelled", "rgb", "weak", "auxiliary")
    if off == "unlabelled":
        gone = View("unlabelled", "rgb", "strong", "auxiliary")
    assert gone not in method.views
    assert len(method.views) == 5
    batch = replace(tiny_batch(method), epoch=epoch)
    assert method.loss(batch).keys() == method.weights(epoch).keys()
    assert f"{off}_auxiliary" not in method.weights(epoch)
    total(method, batch).backward()
    assert all(p.grad is not None for p in method.parameters())


def test_an_auxiliary_network_that_learns_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="the method without one is `fixmatch`"):
        cmpl(**dict.fromkeys(OFF.values(), False))


def test_warm_up_switches_off_both_pseudo_label_terms() -> None:
    method = cmpl(train__supervised_warmup_epochs=5)
    assert method.weights(4.9) == {
        "labelled": 1, "unlabelled": 0, "labelled_auxiliary": 1, "unlabelled_auxiliary": 0
    }  # fmt: skip
    assert method.weights(5.0)["unlabelled"] == method.weights(5.0)["unlabelled_auxiliary"] == 5


# --- clips ------------------------------------------------------------------------------------------------


def options(**changes: Any) -> CMPLOptions:
    values = {"threshold": 0.9, "lambda_u": 5, "auxiliary": {"width": 0.25}}
    return CMPLOptions.model_validate(values | {"auxiliary_frames": 16, "auxiliary_stride": 4} | changes)


def test_the_auxiliary_clip_starts_with_the_primary_one_or_an_offset_away() -> None:
    still, moved = options(), options(time_offset=2, fps=25)
    window = Window("auxiliary", 16, 4, 0)
    for stream in ("labelled", "unlabelled"):
        assert still.windows(stream, 8, 8) == (window,)
    assert moved.windows("labelled", 8, 8) == (window,)
    assert moved.windows("unlabelled", 8, 8) == (Window("auxiliary", 16, 4, 50, either_way=True),)


def test_the_same_clip_is_not_decoded_twice() -> None:
    for same in (
        options(auxiliary_frames=8, auxiliary_stride=8),
        options(auxiliary_frames=None, auxiliary_stride=None),
    ):
        assert same.windows("labelled", 8, 8) == same.windows("unlabelled", 8, 8) == ()
    # an offset alone moves the unlabelled clips
    moved = options(auxiliary_frames=8, auxiliary_stride=8, time_offset=1)
    assert moved.windows("labelled", 8, 8) == ()
    assert moved.windows("unlabelled", 8, 8) == (Window("auxiliary", 8, 8, 30, either_way=True),)


@pytest.mark.parametrize(("windows", "copy", "views"), [("own", 1, 6), ("shared", 0, 3)])
def test_two_networks_on_one_clip_augment_it_each_for_itself(windows: str, copy: int, views: int) -> None:
    method = cmpl(**SAME_CLIP, augment__windows=windows)
    assert {view.clip for view in method.views} == {"main"}
    assert {view.copy for view in method.seen["_auxiliary"].values()} == {copy}
    assert len(method.views) == views
    assert total(method, tiny_batch(method)).isfinite()


# --- networks ------------------------------------------------------------------------------------------------


def test_shared_parameters_are_twice_fixmatch_where_both_clips_are_one() -> None:
    """CMPL Table 3: with the primary network as its own auxiliary, CMPL is FixMatch."""
    changes = {"options__auxiliary_frames": 4, "options__auxiliary_stride": 2, "options__time_offset": 1}
    method = cmpl(**SHARED, **changes, options__threshold=0.4).eval()
    same = {"model__stem_kernel": [5, 7, 7], "model__temporal_strides": [1, 1, 1, 1], "model__inflated": "first"}
    same["options__w_unlabelled"] = 5
    fixmatch = tiny_method(tiny_run("fixmatch", options__threshold=0.4, **same)).eval()
    assert {name for name, _ in method.named_children()} == {"predictor"}
    fixmatch.load_state_dict(method.state_dict())
    batch = tiny_batch(method)
    clips = {view: batch.clips[view._replace(clip="main", copy=0)] for view in method.views}
    for network in (method, fixmatch):
        with torch.no_grad():
            network.predictor.fc.bias.copy_(torch.tensor([0.5, 0.0, 0.0]))
    batch = replace(batch, clips=clips)
    assert fixmatch.loss(batch)["unlabelled"] > 0
    assert total(method, batch).item() == pytest.approx(2 * total(fixmatch, batch).item(), rel=1e-6)


def test_shared_parameters_learn_from_both_clips() -> None:
    method = cmpl(**SHARED, options__threshold=0)
    terms = method.loss(tiny_batch(method))
    assert all(touched(method, term) == {"predictor"} for term in terms.values())
    assert len(terms) == 4


def test_shared_parameters_need_a_second_clip() -> None:
    with pytest.raises(UserError, match="one network needs two clips"):
        cmpl(**SHARED, **SAME_CLIP)
    with pytest.raises(UserError, match="leave `depth` and `width` out"):
        cmpl(options__auxiliary__shared=True)


def test_the_auxiliary_network_differs_in_depth_and_width_alone() -> None:
    primary = ModelConfig(depth=50, width=0.5, stem_kernel=(5, 7, 7), temporal_strides=(1, 1, 1, 1))
    small = auxiliary_model(primary, Auxiliary(depth=18, width=0.25))
    assert (small.depth, small.width) == (18, 0.125)
    assert small.model_copy(update={"depth": 50, "width": 0.5}) == primary
    assert auxiliary_model(primary, Auxiliary()) == primary
    with pytest.raises(UserError, match=r"`model.arch`: .* timesformer does not have"):
        auxiliary_model(ModelConfig(arch="timesformer"), Auxiliary(width=0.25))


def test_networks_of_equal_architecture_start_apart() -> None:
    method = cmpl(options__auxiliary={"width": 1})
    own = dict(method.predictor.named_parameters())
    assert not torch.equal(own["fc.weight"], dict(method.auxiliary.named_parameters())["fc.weight"])


R50 = ModelConfig(depth=50, stem_kernel=(5, 7, 7), temporal_strides=(1, 1, 1, 1), inflated="first")
PARAMETERS = {  # with 400 classes, of 3D-ResNets with CMPL's stem and without temporal downsampling
    (50, 1.0): 33_024_208,
    (50, 0.5): 8_486_192,
    (50, 0.25): 2_236_768,
    (50, 0.125): 616_952,
    (18, 1.0): 20_856_528,
    (10, 1.0): 8_318_928,
}


@pytest.mark.parametrize(("depth", "width"), PARAMETERS)
def test_parameters_of_table_3_s_networks(depth: int, width: float) -> None:
    with torch.device("meta"):
        network = build_network(auxiliary_model(R50, Auxiliary(depth=depth, width=width)), 400)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[depth, width]


def test_r50_has_the_layers_of_table_a4() -> None:
    """The network of the yaml, with 8 frames and with the 16 that no temporal stride shortens."""
    run = grid_run(paper_grid("kinetics400.per-class-6"), "cmpl", "kinetics400.per-class-6")
    with torch.device("meta"):
        network = cast(ResNet3d, build_network(run.model, 400)).eval()
        for frames in (8, 16):
            clip = torch.empty(1, 3, frames, 224, 224)
            maps = [network.stem(clip), network.stem_pool(network.stem(clip)), *network.stages(clip)]
            sizes = [(64, 112), (64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)]
            assert [tuple(x.shape[1:]) for x in maps] == [(c, frames, s, s) for c, s in sizes]
    stem = network.stem[0]
    assert (stem.kernel_size, stem.stride) == ((5, 7, 7), (1, 2, 2))
    for stage, blocks in ((network.layer1, 3), (network.layer2, 4), (network.layer3, 6), (network.layer4, 3)):
        assert len(stage) == blocks
        for block in stage:
            kernels = [part[0].kernel_size for part in (block.conv1, block.conv2, block.conv3)]  # type: ignore[index,union-attr]
            assert kernels == [(3, 1, 1), (1, 3, 3), (1, 1, 1)]


# --- the paper as data -----------------------------------------------------------------------------------------


@cache
def paper_grid(*settings: str) -> Grid:
    """The grid of CMPL's declarations in some settings, one seed."""
    stand_for = {}
    for name in settings:
        dataset, _, labels = name.partition(".")
        stand_for[name] = {"dataset": dataset, "labels": labels}
    values = {"paper": "cmpl", "papers": ["cmpl"], "seeds": [0], "settings": stand_for}
    return build([CONFIG / "config.yaml"], values)


def grid_run(grid: Grid, variant: str, setting: str) -> RunConfig:
    return grid.select("cmpl", variant, setting)[0].config


def test_every_variant_of_every_table_is_a_valid_run() -> None:
    grid = paper_grid("kinetics400.per-class-6")
    assert all(grid.select("cmpl", variant, "kinetics400.per-class-6") for variant in load_paper("cmpl").experiments)


@pytest.mark.parametrize("pair", [("cmpl", "fixmatch"), ("cmpl-50", "fixmatch-50"), ("cmpl", "supervised")])
def test_baselines_have_cmpl_s_recipe(pair: tuple[str, str]) -> None:
    """§4.1: the baselines have the architecture and the settings of the method."""
    grid = paper_grid("ucf101.per-class-1", "kinetics400.per-class-6")
    for setting in ("ucf101.per-class-1", "kinetics400.per-class-6"):
        if not grid.select("cmpl", pair[1], setting):
            continue  # ablations are of Kinetics-400 alone
        ours, baseline = (grid_run(grid, variant, setting) for variant in pair)
        assert (ours.clip, ours.model, ours.optim, ours.labels) == (
            baseline.clip, baseline.model, baseline.optim, baseline.labels
        )  # fmt: skip
        assert ours.augment.weak == baseline.augment.weak
        if baseline.method == "fixmatch":
            assert ours.augment == baseline.augment
            assert ours.options.threshold == baseline.options.threshold  # type: ignore[attr-defined]
        assert ours.train.model_copy(update={"record_epochs": baseline.train.record_epochs}) == baseline.train


def test_values_of_section_4_1() -> None:
    grid = paper_grid(
        "ucf101.per-class-1", "ucf101.per-class-10", "kinetics400.per-class-6", "kinetics400.per-class-60"
    )
    for setting, weight_decay, weight in (
        ("ucf101.per-class-1", 1e-3, 5),
        ("ucf101.per-class-10", 1e-3, 2),
        ("kinetics400.per-class-6", 1e-4, 5),
        ("kinetics400.per-class-60", 1e-4, 2),
    ):
        run = grid_run(grid, "cmpl", setting)
        optim = OptimConfig(lr=0.1, momentum=0.9, weight_decay=weight_decay, schedule="cosine")
        assert run.optim == optim
        assert not run.labels.unlabelled_includes_labelled
        assert run.options.lambda_u == weight, setting  # type: ignore[attr-defined]
        assert grid_run(grid, "fixmatch", setting).options.w_unlabelled == weight, setting  # type: ignore[attr-defined]


def test_weak_clips_are_centre_crops() -> None:
    augment: Augment = grid_run(paper_grid("kinetics400.per-class-6"), "cmpl", "kinetics400.per-class-6").augment
    assert augment.unlabelled is not None
    assert (augment.unlabelled.crop, augment.unlabelled.size, augment.unlabelled.flip) == ("centre", 224, 0)
