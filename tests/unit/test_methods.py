"""Every method of the registry, and where the gradients of LTG go."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from tiny_methods import CLASSES, METHODS_FOLDER, tiny_batch, tiny_method, tiny_run, total
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ssar.engine.numerics import settle
from ssar.errors import UserError
from ssar.methods import METHODS, method_class
from ssar.methods.base import Batch, Method, View
from ssar.methods.ltg import LTG
from ssar.models.build import build
from ssar.runtime import Runtime
from ssar.yamlfile import read_yaml


def ltg(**changes: Any) -> Method:
    return tiny_method(tiny_run("ltg", **changes))


def touched(method: Method, term: Tensor) -> set[str]:
    """Names of the child modules that a term gives any gradient."""
    method.zero_grad(set_to_none=True)
    term.backward(retain_graph=True)
    return {
        name.partition(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }


# --- every method ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_builds_from_its_yaml_steps_and_restores(name: str) -> None:
    run = tiny_run(name)
    method = tiny_method(run)
    batch = tiny_batch(method)
    optimiser = torch.optim.SGD(method.parameters(), lr=0.01)
    total(method, batch).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad), (
        "DDP waits for every parameter's gradient"
    )
    optimiser.step()
    method.after_step(0)
    assert all(not x.requires_grad and x.dim() == 0 for x in method.stats.values())

    if run.options.needs_labelled and run.options.needs_unlabelled:  # what a record of pseudo-labels keeps
        assert method.predictions
        for probabilities in method.predictions.values():
            assert not probabilities.requires_grad
            assert torch.allclose(probabilities.sum(dim=1), torch.ones(len(probabilities)), atol=1e-5)

    other = tiny_method(run, seed=5)
    other.load_state_dict(method.state_dict())
    clip = torch.randn(2, 3, 4, 16, 16)
    assert torch.equal(other.eval().predictor(clip), method.eval().predictor(clip))


@pytest.mark.parametrize("name", METHODS)
def test_predictor_costs_no_more_than_the_plain_backbone(name: str) -> None:
    run = tiny_run(name)
    predictor = tiny_method(run).predictor
    backbone = build(run.model, CLASSES)
    assert sum(p.numel() for p in predictor.parameters()) == sum(p.numel() for p in backbone.parameters())
    clip = torch.randn(2, 3, 4, 16, 16)
    assert predictor(clip).shape == (2, CLASSES)
    assert predictor.features(clip).shape == (2, backbone.width)
    flops = []
    for network in (predictor, backbone):
        with FlopCounterMode(display=False) as counter:
            network(clip)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0


@pytest.mark.parametrize("name", METHODS)
def test_options_declare_what_the_class_reads(name: str) -> None:
    run = tiny_run(name)
    views = tiny_method(run).views
    assert {view.modality for view in views} == run.options.modalities
    streams = {view.stream for view in views}
    assert ("unlabelled" in streams) == run.options.needs_unlabelled
    assert ("labelled" in streams) == run.options.needs_labelled
    for stream in streams:
        windows = run.options.windows(stream, run.clip.frames, run.clip.stride)
        named = {view.clip for view in views if view.stream == stream}
        assert named <= {"main", *(window.name for window in windows)}
        assert {window.name for window in windows} <= named, "a clip that nobody looks at is decoded"


@pytest.mark.parametrize("name", METHODS)
def test_thirty_steps_lower_the_loss(name: str) -> None:
    """Teachers, banks and prototypes stay as they are: the objective does not move under the steps."""
    method = tiny_method(tiny_run(name))
    batch = tiny_batch(method)
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        loss = total(method, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < losses[0] - 0.3 * abs(losses[0])


@pytest.mark.parametrize("name", METHODS)
def test_a_restored_method_goes_on_as_if_nothing_had_happened(name: str) -> None:
    """Banks, prototypes, averages and queues are in the state."""

    def steps(method: Method, optimiser: torch.optim.Optimizer, numbers: range) -> None:
        for step in numbers:
            torch.manual_seed(step)  # as the engine does
            optimiser.zero_grad()
            total(method, batch).backward()
            optimiser.step()
            method.after_step(step)

    def fresh(seed: int) -> tuple[Method, torch.optim.Optimizer]:
        method = tiny_method(run, seed)
        trained = [p for p in method.parameters() if p.requires_grad]
        return method, torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    run = tiny_run(name)
    undisturbed, optimiser = fresh(0)
    batch = tiny_batch(undisturbed)
    steps(undisturbed, optimiser, range(2))
    state = copy.deepcopy((undisturbed.state_dict(), optimiser.state_dict()))
    steps(undisturbed, optimiser, range(2, 4))
    resumed, optimiser = fresh(5)
    resumed.load_state_dict(state[0])
    optimiser.load_state_dict(state[1])
    steps(resumed, optimiser, range(2, 4))
    wanted = undisturbed.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in resumed.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_terms_are_float32_under_mixed_precision(name: str) -> None:
    method = tiny_method(tiny_run(name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.loss(tiny_batch(method))
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@pytest.mark.parametrize("name", METHODS)
def test_the_numeric_self_test_takes_every_method_and_leaves_it_as_it_was(name: str) -> None:
    run = tiny_run(name, channels_last=True)
    method = tiny_method(run)
    before = copy.deepcopy(method.state_dict())
    batch = tiny_batch(method, labelled=6, unlabelled=6)
    settle(Fabric(accelerator="cpu", devices=1), method, run, Runtime(), batch, known=())
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


VARIANTS = [(name, v) for name in METHODS for v in read_yaml(METHODS_FOLDER / f"{name}.yaml").get("variants", {})]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_variants_build_and_differ_from_the_paper(name: str, variant: str) -> None:
    paper, released = tiny_run(name), tiny_run(name, variant=variant)
    assert released != paper
    method = tiny_method(released)
    assert total(method, tiny_batch(method)).isfinite()


@pytest.mark.parametrize("name", METHODS)
def test_one_labelled_and_one_unlabelled_clip_suffice(name: str) -> None:
    """The smallest micro-batch; two classes are absent from it."""
    method = tiny_method(tiny_run(name))
    # at 32 pixels the last map of one clip is a single value per channel, which has no batch statistics
    assert total(method, tiny_batch(method, labelled=1, unlabelled=1, side=64)).isfinite()


@pytest.mark.parametrize("name", ["fixmatch", "ltg"])
def test_supervised_warm_up_switches_off_the_pseudo_label_terms_alone(name: str) -> None:
    method = tiny_method(tiny_run(name, train__supervised_warmup_epochs=30))
    before, after = method.weights(29.99), method.weights(30.0)
    changed = {term for term in before if before[term] != after[term]}
    assert changed == {term for term in before if term.startswith("unlabelled")}
    assert all(before[term] == 0 for term in changed)


@pytest.mark.parametrize("name", ["supervised", "fixmatch"])
@pytest.mark.parametrize("modality", ["rgb", "tg"])
def test_single_stream_methods_take_either_modality(name: str, modality: str) -> None:
    run = tiny_run(name, options__modality=modality)
    assert (
        {view.modality for view in method_class(name)(run, CLASSES).views} == {modality} == {run.options.test_modality}
    )


def test_unknown_method_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'fixmatch'"):
        method_class("fixmach")


# --- LTG ------------------------------------------------------------------------------------------


def test_weights_are_eq_11() -> None:
    method = ltg(options__w_fm=0.5, options__lambda_u=3, options__w_kd=0.7, options__w_clr=0.2)
    assert method.weights(1e9) == {
        "labelled_rgb": 0.5,
        "labelled_tg": 0.5,
        "unlabelled_rgb": 1.5,
        "unlabelled_tg": 1.5,
        "alignment": 0.7,
        "contrast": 0.2,
    }


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_where_the_gradient_of_each_term_goes(stop_gradient: bool) -> None:
    method = ltg(options__threshold=0, options__stop_gradient=stop_gradient)
    terms = method.loss(tiny_batch(method))
    assert touched(method, terms["labelled_rgb"]) == {"predictor"}
    assert touched(method, terms["unlabelled_rgb"]) == {"predictor"}
    assert touched(method, terms["labelled_tg"]) == {"teacher"}
    assert touched(method, terms["unlabelled_tg"]) == {"teacher"}
    assert touched(method, terms["alignment"]) == {"predictor"} | (set() if stop_gradient else {"teacher"})
    assert touched(method, terms["contrast"]) == {"predictor", "teacher", "project_rgb", "project_tg"}


def test_weightless_terms_are_not_computed() -> None:
    method = ltg(options__w_kd=0, options__w_clr=0)
    terms = method.loss(tiny_batch(method))
    assert terms.keys() == method.weights(0).keys() == {
        "labelled_rgb", "labelled_tg", "unlabelled_rgb", "unlabelled_tg"
    }  # fmt: skip
    assert {name for name, _ in method.named_children()} == {"predictor", "teacher"}


def test_without_ties_ltg_is_two_fixmatch_side_by_side() -> None:
    """Pseudo-labels of each modality's own, no alignment, no contrast."""
    method = ltg(options__pseudo_label="self", options__w_kd=0, options__w_clr=0)
    assert isinstance(method, LTG)
    with torch.no_grad():  # sure of different classes, so that it shows whose labels are used
        method.predictor.fc.bias.copy_(torch.tensor([3.0, 0.0, 0.0]))
        method.teacher.fc.bias.copy_(torch.tensor([0.0, 3.0, 0.0]))
    batch = tiny_batch(method)
    terms = method.loss(batch)
    for modality, network, suffix in (("rgb", method.predictor, ""), ("tg", method.teacher, "_tg")):
        fixmatch = tiny_method(tiny_run("fixmatch", options__modality=modality))
        fixmatch.predictor.load_state_dict(network.state_dict())
        expected = fixmatch.loss(batch)
        assert torch.equal(terms[f"labelled_{modality}"], expected["labelled"])
        assert torch.equal(terms[f"unlabelled_{modality}"], expected["unlabelled"])
        for name in ("pseudo_rate", "pseudo_accuracy"):
            assert torch.equal(method.stats[f"{name}{suffix}"], fixmatch.stats[name])


@pytest.mark.parametrize(
    ("source", "average_of", "learns"),
    [
        ("rgb", "probabilities", False),
        ("tg", "probabilities", True),
        ("average", "probabilities", False),  # (1/3 + 1) / 2 = 0.67
        ("average", "logits", True),  # softmax(9 / 2) = 0.98
    ],
)
def test_one_pseudo_label_trains_both_networks(source: str, average_of: str, learns: bool) -> None:
    """Eq. 5: where the chosen prediction is unsure, neither network learns from the clip."""
    method = ltg(options__pseudo_label=source, options__average_of=average_of, options__threshold=0.8).eval()
    with torch.no_grad():  # a TG network that is sure of class 1, beside an RGB network that knows nothing
        method.predictor.fc.weight.zero_()
        method.teacher.fc.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))  # type: ignore[union-attr,operator]
    terms = method.loss(tiny_batch(method))
    assert bool(terms["unlabelled_rgb"] > 0) == bool(terms["unlabelled_tg"] > 0) == learns
    assert method.stats["pseudo_rate"].item() == float(learns)


@pytest.mark.parametrize("term", ["alignment", "contrast"])
def test_ties_see_labelled_and_weak_clips_but_no_strong_ones(term: str) -> None:
    """Evaluation mode, so that clips do not meet in batch statistics."""
    method = ltg().eval()
    batch = tiny_batch(method)
    before = method.loss(batch)[term].item()
    for view in LTG.views:
        changed = dict(batch.clips)
        changed[view] = changed[view].flip(-1)
        after = method.loss(Batch(changed, batch.label, batch.truth, batch.epoch))[term].item()
        assert (after != pytest.approx(before, rel=1e-6)) == (view.strength == "weak"), view


@pytest.mark.parametrize("projected", ["contrasted", "all"])
def test_whose_batch_statistics_normalise_the_projections(projected: str) -> None:
    """In training the heads see labelled and weak clips; as released, all clips of the pass."""
    method = ltg(options__projected=projected)
    batch = tiny_batch(method)
    kept = slice(None) if projected == "all" else slice(6)
    embedded = {}
    for modality, network, head in (
        ("rgb", method.predictor, method.project_rgb),
        ("tg", method.teacher, method.project_tg),
    ):
        clips = [clip for view, clip in batch.clips.items() if view.modality == modality]
        embedded[modality] = head(network.forward_all(torch.cat(clips)).pooled[kept])[:6]
    rgb, tg = (torch.nn.functional.normalize(embedded[modality], dim=1).tolist() for modality in ("rgb", "tg"))
    temperature, expected = method.options.temperature, 0.0
    for queries, keys in ((rgb, tg), (tg, rgb)):
        for i, query in enumerate(queries):
            exps = [math.exp(sum(a * b for a, b in zip(query, key, strict=True)) / temperature) for key in keys]
            expected -= math.log(exps[i] / sum(exps)) / 12
    assert method.loss(batch)["contrast"].item() == pytest.approx(expected, rel=1e-4)


def test_blocks_choose_the_aligned_stages() -> None:
    method, values = ltg().eval(), []
    batch = tiny_batch(method)
    for blocks in ([1], [4], [4, 1]):
        chosen = ltg(options__blocks=blocks).eval()
        chosen.load_state_dict(method.state_dict())
        values.append(chosen.loss(batch)["alignment"].item())
    assert values[0] != pytest.approx(values[1])
    assert values[2] == pytest.approx(values[0] + values[1], rel=1e-5)


def test_blocks_are_ordered_and_not_empty() -> None:
    assert tiny_run("ltg", options__blocks=[4, 3]) == tiny_run("ltg", options__blocks=[3, 4])
    with pytest.raises(UserError, match="`blocks` is empty"):
        tiny_run("ltg", options__blocks=[])
    assert tiny_run("ltg", options__blocks=[], options__w_kd=0).options.aligned_blocks == ()


def test_eval_mode_pseudo_labels_ignore_dropout_and_leave_no_trace() -> None:
    method = tiny_method(
        tiny_run("fixmatch", options__pseudo_label_mode="eval", options__threshold=0, model__dropout=0.5)
    )
    batch = tiny_batch(method)
    weak = batch.clips[View("unlabelled", "rgb", "weak")]
    expected = method.eval().predictor(weak).argmax(dim=1)
    method.train()
    method.loss(batch)
    assert method.predictor.training
    assert method.stats["pseudo_accuracy"] == (expected == batch.truth).float().mean()


@pytest.mark.parametrize("name", ["fixmatch", "ltg"])
def test_strong_clips_in_their_own_pass_leave_the_others_statistics_alone(name: str) -> None:
    for strong_pass, same in (("own", True), ("joint", False)):
        method = tiny_method(tiny_run(name, options__strong_pass=strong_pass))
        batch = tiny_batch(method)
        before = {key: value.item() for key, value in method.loss(batch).items()}
        louder = {view: 50 * clips if view.strength == "strong" else clips for view, clips in batch.clips.items()}
        after = method.loss(replace(batch, clips=louder))
        labelled = [key for key in before if not key.startswith("unlabelled")]
        assert all(after[key].item() == pytest.approx(before[key]) for key in labelled) == same


@pytest.mark.parametrize("name", ["fixmatch", "ltg"])
def test_the_strong_pass_is_left_out_while_it_weighs_nothing(name: str) -> None:
    method = tiny_method(tiny_run(name, options__strong_pass="own", train__supervised_warmup_epochs=2))
    batch = replace(tiny_batch(method), epoch=1.0)
    gradients = {}
    for strong in (0.0, 50.0):
        clips = {view: strong * x if view.strength == "strong" else x for view, x in batch.clips.items()}
        method.zero_grad(set_to_none=True)
        total(method, replace(batch, clips=clips)).backward()
        gradients[strong] = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
    assert torch.equal(*gradients.values())


def test_truth_changes_statistics_and_no_term() -> None:
    method = ltg(options__threshold=0).eval()
    batch = tiny_batch(method)
    assert batch.truth is not None
    terms, stats = method.loss(batch), dict(method.stats)
    other = method.loss(Batch(batch.clips, batch.label, (batch.truth + 1) % CLASSES, batch.epoch))
    assert all(torch.equal(terms[name], other[name]) for name in terms)
    assert method.stats["pseudo_accuracy"] != stats["pseudo_accuracy"]


def test_compiled_parts_serve_the_loss() -> None:
    method = ltg()
    batch = tiny_batch(method)
    method.eval()
    expected = {name: term.item() for name, term in method.loss(batch).items()}
    method.compile(backend="eager")
    assert {name: term.item() for name, term in method.loss(batch).items()} == pytest.approx(expected, rel=1e-5)
