"""ACL + MTL as a method: what each term trains, what lasts, and the rows of the paper's tables."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from tiny_methods import CLASSES, tiny_batch, tiny_method, tiny_run, total
from torch import Tensor

from ssar.config import RunConfig
from ssar.errors import UserError
from ssar.methods.acl_mtl import ACLMTL, LABELLED, STRONG, WEAK, Seen
from ssar.methods.base import Batch, View
from ssar.models.memory import MemoryBank, Prototypes

BASELINE = {"options__contrast": "none", "options__reliability_weight": "none", "options__long_factors": []}


def run(**changes: Any) -> RunConfig:
    return tiny_run(
        "acl_mtl",
        **{
            "model__arch": "resnet3d",
            "options__projection": [16, 8],
            "options__temporal_projection": [16, 8, 8],
            "options__bank_size": 8,
            **changes,
        },
    )


def build(**changes: Any) -> ACLMTL:
    method = tiny_method(run(**changes))
    assert isinstance(method, ACLMTL)
    return method


def filled(method: ACLMTL, steps: int = 3) -> Batch:
    """A batch, after whose steps the bank and the prototypes are in use."""
    batch = tiny_batch(method)
    with torch.no_grad():
        for step in range(steps):
            method.loss(batch)
            method.after_step(step)
    return batch


def touched(method: ACLMTL, term: Tensor) -> set[str]:
    method.zero_grad(set_to_none=True)
    term.backward(retain_graph=True)
    return {
        name.partition(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }


def state(method: ACLMTL) -> Mapping[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


# --- options ---------------------------------------------------------------------------------------


def test_long_clips_have_the_paper_s_strides() -> None:
    options = run().options
    assert [(w.name, w.frames, w.stride, w.shift) for w in options.windows("unlabelled", 8, 8)] == [
        ("long1", 8, 16, None),
        ("long2", 8, 32, None),
    ]
    assert options.windows("labelled", 8, 8) == ()


def test_long_clips_around_the_short_one_share_its_middle() -> None:
    for window in run(options__long_place="around").options.windows("unlabelled", 8, 8):
        assert window.shift is not None
        assert window.shift + 7 * window.stride / 2 == pytest.approx(7 * 8 / 2, abs=0.5)


def test_factors_are_ordered_and_named_once() -> None:
    assert run(options__long_factors=[4, 2]) == run(options__long_factors=[2, 4])
    with pytest.raises(UserError, match="names a factor twice"):
        run(options__long_factors=[2, 2])


def test_weights_are_eq_20_and_eq_3() -> None:
    assert build(options__mu1=0.5, options__mu2=0.25, options__alpha=3).weights(1e9) == {
        "labelled": 1,
        "unlabelled": 1,  # gamma is in the term
        "contrast": 0.25,
        "mtl": 0.5,
    }
    assert build(**BASELINE, options__alpha=3).weights(1e9) == {"labelled": 1, "unlabelled": 3}
    assert build(**BASELINE, train__supervised_warmup_epochs=2).weights(1.9)["unlabelled"] == 0


# --- terms -----------------------------------------------------------------------------------------


def test_where_the_gradient_of_each_term_goes() -> None:
    method = build(options__threshold=0, options__unfitted=1)
    batch = filled(method)
    terms = method.loss(batch)
    assert touched(method, terms["labelled"]) == {"predictor"}
    assert touched(method, terms["unlabelled"]) == {"predictor"}
    assert touched(method, terms["contrast"]) == {"predictor", "spatial"}
    assert touched(method, terms["mtl"]) == {"predictor", "temporal"}


@pytest.mark.parametrize("term", ["unlabelled", "contrast", "mtl"])
def test_which_clips_a_gradient_flows_to(term: str) -> None:
    """The teacher's clips shape targets only, and so does the student's look at the weak short clip."""
    method = build(options__threshold=0, options__unfitted=1)
    batch = filled(method)
    clips = {view: x.clone().requires_grad_() for view, x in batch.clips.items()}
    method.eval().loss(replace(batch, clips=clips))[term].backward()
    assert {view for view, x in clips.items() if x.grad is not None and x.grad.abs().sum() > 0} == {STRONG}


@pytest.mark.parametrize("contrast", ["acl", "simclr", "moco", "none"])
@pytest.mark.parametrize("weight", ["weight", "mask", "none"])
@pytest.mark.parametrize("mu1", [1, 0])
def test_every_combination_trains_all_that_it_builds(contrast: str, weight: str, mu1: int) -> None:
    method = build(options__contrast=contrast, options__reliability_weight=weight, options__mu1=mu1)
    batch = filled(method, steps=1)
    total(method, batch).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert (method.bank is not None) == (contrast in ("acl", "moco") or weight != "none")
    assert (method.prototypes is not None) == (contrast == "acl" or weight != "none")
    assert hasattr(method, "temporal") == bool(mu1)
    assert len(method.views) == 5


@pytest.mark.parametrize("contrast", ["acl", "simclr"])
def test_mixed_precision_loses_no_gradient(contrast: str) -> None:
    """Autocast keeps the weights that it cast; those of a pass without gradient must not reach one with it.

    With the transformer: in 16 bits some CPUs return wrong weight gradients of 3D convolutions.
    """
    method = build(model__arch="timesformer", options__contrast=contrast, options__threshold=0, options__unfitted=1)
    batch = filled(method, steps=1)
    found = []
    for autocast in (False, True):
        method.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = total(method, batch)
        loss.backward()
        gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        found.append({name for name, gradient in gradients.items() if gradient.any()})
    assert found[0] == found[1]


def test_the_baseline_is_a_mean_teacher_with_pseudo_labels() -> None:
    """ACL+MTL §3.2: nothing but the two networks, and clips of one length."""
    method = build(**BASELINE)
    assert method.views == (LABELLED, WEAK, STRONG)
    assert {name.partition(".")[0] for name, _ in method.named_parameters()} == {"predictor", "teacher"}
    batch = tiny_batch(method)
    method.eval()
    expected = F.cross_entropy(method.predictor(batch.clips[STRONG]), method.teacher(batch.clips[WEAK]).argmax(dim=1))
    torch.testing.assert_close(method.loss(batch)["unlabelled"], expected)  # all are above 0.3 of 3 classes


@pytest.mark.parametrize("average_of", ["probabilities", "logits"])
def test_the_pseudo_label_is_eq_19(average_of: str) -> None:
    """The short clip alone would say otherwise, and so would the other sum."""
    method = build(options__average_of=average_of, options__threshold=0.0, options__reliability_weight="none").eval()
    batch = tiny_batch(method, unlabelled=1, side=32)
    clips = [batch.clips[view] for view in (WEAK, *method.long.values())]
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    logits = {"probabilities": torch.tensor([[1.2, 0.0, -9.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])}.get(
        average_of, logits
    )
    answers = iter(logits.split(1))

    def forward_all(x: Tensor) -> Any:
        found = method.predictor.forward_all(x)
        return found._replace(logits=torch.cat([next(answers) for _ in clips]).detach())

    method.teacher.forward_all = forward_all  # type: ignore[method-assign]
    with torch.no_grad():
        terms = method.loss(batch)
    vote = logits if average_of == "logits" else logits.softmax(dim=1)
    label = sum(vote).argmax().item()  # type: ignore[union-attr]
    assert label == (0 if average_of == "logits" else 1)
    expected = F.cross_entropy(method.predictor(batch.clips[STRONG]), torch.tensor([label]))
    torch.testing.assert_close(terms["unlabelled"], expected)
    assert method.predictions["teacher"].sum().item() == pytest.approx(1)


def test_confidence_of_the_average_or_of_the_short_clip() -> None:
    method = build(options__threshold=0.6)
    logits = {"short": [5.0, 0.0, 0.0], "long1": [0.0, 1.0, 0.0], "long2": [0.0, 0.0, 1.0]}
    nothing = (torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1))
    teacher = {name: Seen(*nothing, torch.tensor([x])) for name, x in logits.items()}
    assert not method._pseudo_labels(teacher).confident.item()  # 0.99, 0.21 and 0.21 on class 0
    assert build(options__threshold=0.6, options__confidence_of="short")._pseudo_labels(teacher).confident.item()


@pytest.mark.parametrize(("weight", "share"), [("weight", 0.6), ("mask", 0.0), ("none", 1.0)])
def test_reliability_replaces_alpha(weight: str, share: float) -> None:
    """Where nothing can be fitted gamma is `unfitted`, here 0.6, which is not above epsilon."""
    method = build(options__reliability_weight=weight, options__unfitted=0.6, options__threshold=0).eval()
    plain = build(options__reliability_weight="none", options__threshold=0).eval()
    batch = tiny_batch(method)
    torch.testing.assert_close(method.loss(batch)["unlabelled"], share * plain.loss(batch)["unlabelled"])


def test_epsilon_and_the_anchor_s_confidence_matter() -> None:
    values = []
    for changes in ({}, {"options__epsilon": 0.3}, {"options__consider_anchor": False}):
        method = build(**changes, options__unfitted=0.5, options__least_candidates=99).eval()
        values.append(method.loss(filled(method))["contrast"].item())
    # gamma is 0.5: f^p alone; f^p and the bank's clips of its label; f^p again, since Eq. 10 leaves nothing
    assert values[0] != pytest.approx(values[1])
    assert values[0] == pytest.approx(values[2])


def test_attention_reads_eq_13_in_three_ways() -> None:
    values = []
    for reading in ("position", "pooled", "pairs"):
        method = build(options__attention=reading).eval()
        values.append(method.loss(tiny_batch(method, side=64))["mtl"].item())
    assert len({round(value, 6) for value in values}) == 3


def test_mtl_is_the_mean_over_the_long_clips() -> None:
    method = build().eval()
    batch = tiny_batch(method)
    together = method.loss(batch)["mtl"]
    strong = method.predictor.forward_all(batch.clips[STRONG]).stages[-1].mean(dim=(2, 3, 4))
    query = method.predictor.forward_all(batch.clips[WEAK]).stages[-1]
    losses = []
    for number, view in enumerate(method.long.values()):
        key = method.teacher.forward_all(batch.clips[view]).stages[-1]
        key = (F.cosine_similarity(query, key, dim=1).unsqueeze(1) * key).mean(dim=(2, 3, 4))
        p_k = (method.temporal_teacher[number](key) / 0.04).softmax(dim=1)
        log_p_q = (method.temporal[number](strong) / 0.1).log_softmax(dim=1)
        losses.append(-(p_k * log_p_q).sum(dim=1).mean())
    torch.testing.assert_close(together, sum(losses) / 2)


def test_the_weak_short_clip_leaves_no_trace_in_batch_statistics() -> None:
    """f^q is looked at in evaluation mode, without gradient."""
    one, two = build(), build()
    batch = tiny_batch(one)
    one.loss(batch)
    two.loss(replace(batch, clips=batch.clips | {WEAK: 50 * batch.clips[WEAK]}))
    assert one.predictor.training
    for name, value in one.predictor.state_dict().items():
        assert torch.equal(value, two.predictor.state_dict()[name]), name


def test_strong_clips_in_their_own_pass_leave_the_labelled_ones_alone() -> None:
    for strong_pass, same in (("own", True), ("joint", False)):
        method = build(options__strong_pass=strong_pass)
        batch = tiny_batch(method)
        before = method.loss(batch)["labelled"].item()
        louder = batch.clips | {STRONG: 50 * batch.clips[STRONG]}
        assert (method.loss(replace(batch, clips=louder))["labelled"].item() == pytest.approx(before)) == same


def test_truth_changes_statistics_and_no_term() -> None:
    method = build(options__threshold=0).eval()
    batch = tiny_batch(method)
    assert batch.truth is not None
    terms, stats = method.loss(batch), dict(method.stats)
    other = method.loss(replace(batch, truth=(batch.truth + 1) % CLASSES))
    assert all(torch.equal(terms[name], other[name]) for name in terms)
    assert method.stats["pseudo_accuracy"] != stats["pseudo_accuracy"]
    assert all(not x.requires_grad and x.dim() == 0 and x.is_floating_point() for x in method.stats.values())


# --- what lasts ------------------------------------------------------------------------------------


def test_the_loss_changes_nothing_that_lasts_but_batch_statistics() -> None:
    method = build()
    batch = filled(method)
    before = state(method)
    method.loss(batch)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert all("running_" in name or "num_batches" in name for name in changed)
    assert all(name.startswith("predictor.") for name in changed)


def test_after_step_takes_what_the_losses_of_the_step_left_and_no_more() -> None:
    method = build(options__bank_size=16).eval()
    batch = tiny_batch(method)
    method.loss(batch)
    method.loss(batch)  # a second micro-batch
    method.after_step(0)
    assert method.bank is not None
    assert method.prototypes is not None
    assert method.bank.filled.sum() == 6
    assert method.prototypes.seen.all()
    before = state(method)
    method.after_step(1)  # nothing is left, and the networks are equal
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_the_bank_holds_the_teacher_s_features_with_the_pseudo_labels() -> None:
    method = build().eval()
    batch = tiny_batch(method)
    method.loss(batch)
    method.after_step(0)
    assert method.bank is not None
    expected = F.normalize(method.spatial_teacher(method.teacher.forward_all(batch.clips[WEAK]).pooled), dim=1)
    torch.testing.assert_close(method.bank.features[:3], expected)
    assert torch.equal(method.bank.label[:3], method.predictions["teacher"].argmax(dim=1))


def test_only_confident_clips_enter_the_bank_where_asked() -> None:
    method = build(options__bank_of="confident", options__threshold=1.0)
    filled(method)
    assert method.bank is not None
    assert not method.bank.filled.any()
    assert method.bank.pointer == 0


def test_the_teacher_and_the_heads_follow_the_student() -> None:
    method = build(options__ema_decay=0.75)
    pairs = {
        "teacher.network.fc.weight": "predictor.fc.weight",
        "spatial_teacher.0.weight": "spatial.0.weight",
        "temporal_teacher.1.directions": "temporal.1.directions",
    }
    with torch.no_grad():
        for p in (method.predictor.fc.weight, method.spatial[0].weight, method.temporal[1].directions):  # type: ignore[index]
            p.add_(1)
    before = state(method)
    method.after_step(0)
    after = state(method)
    for mean, source in pairs.items():
        torch.testing.assert_close(after[mean], 0.75 * before[mean] + 0.25 * before[source])


def test_centring_is_off_as_printed_and_a_moving_average_where_asked() -> None:
    printed, centred = build(), build(options__centre_decay=0.75)
    batch = filled(printed, 1)
    assert not printed.centre.any()
    before = centred.loss(batch)["mtl"]
    outputs = torch.stack(centred.to_centre).mean(dim=0)
    centred.after_step(0)
    torch.testing.assert_close(centred.centre, 0.25 * outputs)
    assert centred.loss(batch)["mtl"] != before


def test_starting_copies_the_student_to_the_teacher() -> None:
    method = build()
    with torch.no_grad():
        method.predictor.fc.weight.add_(1)
    method.start({}, {})
    assert torch.equal(method.teacher.network.fc.weight, method.predictor.fc.weight)


def test_a_restored_method_goes_on_alike_and_a_copy_does_not_share() -> None:
    method = build()
    batch = filled(method)
    other = build()
    other.load_state_dict(method.state_dict())
    copied = copy.deepcopy(method)
    losses = [total(m, batch) for m in (method, other, copied)]
    assert losses[0] == losses[1] == losses[2]
    copied.after_step(0)
    assert len(method.to_bank) == 1
    assert method.bank is not None
    assert copied.bank is not None
    assert method.bank.pointer != copied.bank.pointer


def test_a_class_without_prototype_and_a_batch_of_one() -> None:
    method = build(options__threshold=0)
    filled(method)
    assert method.prototypes is not None
    method.prototypes.seen.zero_()
    terms = method.loss(tiny_batch(method, labelled=1, unlabelled=1, side=64))
    assert all(term.isfinite() for term in terms.values())
    assert terms["unlabelled"] == 0  # gamma is 0 where it cannot be fitted
    assert method.stats["reliable_rate"] == 0


# --- the bank and the prototypes -------------------------------------------------------------------


def numbered(first: int, count: int) -> Tensor:
    return torch.arange(first, first + count).float().unsqueeze(1).expand(-1, 2)


def test_the_bank_replaces_the_oldest() -> None:
    bank = MemoryBank(5, 2)
    bank.add(numbered(0, 3), torch.tensor([0, 1, 2]))
    assert bank.filled.tolist() == [True, True, True, False, False]
    bank.add(numbered(3, 4), torch.tensor([3, 4, 5, 6]))
    assert bank.features[:, 0].tolist() == [5, 6, 2, 3, 4]
    assert bank.label.tolist() == [5, 6, 2, 3, 4]
    bank.add(numbered(7, 12), torch.arange(7, 19))  # more than it has places
    assert sorted(bank.label.tolist()) == [14, 15, 16, 17, 18]
    assert torch.equal(bank.features[:, 0], bank.label.float())


def test_rows_without_a_label_are_left_out_in_order() -> None:
    bank = MemoryBank(4, 2)
    bank.add(numbered(0, 3), torch.tensor([0, 1, 2]))
    bank.add(numbered(3, 4), torch.tensor([-1, 4, -1, 6]))
    assert bank.label.tolist() == [6, 1, 2, 4]
    assert bank.pointer == 1
    bank.add(numbered(7, 2), torch.tensor([-1, -1]))
    assert bank.label.tolist() == [6, 1, 2, 4]
    assert bank.pointer == 1


def test_prototypes_are_eq_5_for_the_classes_that_are_there() -> None:
    prototypes = Prototypes(3, 2, 0.9)
    generator = torch.Generator().manual_seed(0)
    expected: dict[int, list[float]] = {}
    for labels in ([0, 2], [0, 0, 2], [2, 2]):
        features = torch.randn(len(labels), 2, generator=generator)
        prototypes.update(features, torch.tensor(labels))
        for y in set(labels):
            of_class = [f for f, label in zip(features.tolist(), labels, strict=True) if label == y]
            f_l = [sum(column) / len(of_class) for column in zip(*of_class, strict=True)]
            old = expected.get(y)
            expected[y] = f_l if old is None else [0.1 * f + 0.9 * x for f, x in zip(f_l, old, strict=True)]
    assert prototypes.seen.tolist() == [True, False, True]
    assert prototypes.value[1].tolist() == [0, 0]
    for y, value in expected.items():
        assert prototypes.value[y].tolist() == pytest.approx(value, rel=1e-5)


def part(batch: Batch, start: int, stop: int) -> Batch:
    clips: dict[View, Tensor] = {view: x[start:stop] for view, x in batch.clips.items()}
    assert batch.truth is not None
    return replace(batch, clips=clips, label=batch.label[start:stop], truth=batch.truth[start:stop])


def lasting(start: int, stop: int) -> dict[str, Tensor]:
    """Everything that lasts after a step in evaluation mode, where clips do not meet in batch statistics."""
    method = build(options__centre_decay=0.9).eval()
    batch = tiny_batch(method, labelled=4, unlabelled=4)
    with torch.no_grad():
        method.loss(part(batch, start, stop))
        method.after_step(0)
    return method.state_dict()


def two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(lasting(2 * rank, 2 * rank + 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_bank_prototypes_and_centre_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    expected = lasting(0, 4)
    mp.spawn(two_processes, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=name)
