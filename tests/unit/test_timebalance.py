"""The student of TimeBalance: its teachers, their combination, and where the gradients go."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_losses_distillation import distance_loop, softmax_loop
from tiny_methods import CLASSES, tiny_batch, tiny_method, tiny_run, total
from upstream import VIDEOS, upstream_for, write_similarity_file, write_teacher

from ssar import grid
from ssar.config import RunConfig
from ssar.engine.weights import save_model
from ssar.errors import UserError
from ssar.evaluation.scores import write_scores
from ssar.losses.teacher_reweighting import similarity_score, temporal_similarity
from ssar.methods.base import View
from ssar.methods.timebalance import TimeBalance

LABELLED, UNLABELLED = View("labelled", "rgb", "weak"), View("unlabelled", "rgb", "weak")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two different teachers and random scores."""
    return upstream_for(tiny_run("timebalance"), tmp_path_factory.mktemp("upstream"))


def unstarted(run: RunConfig, seed: int = 0) -> TimeBalance:
    torch.manual_seed(seed)
    return TimeBalance(run, CLASSES).train()


def student(upstream: dict[str, Path], seed: int = 0, variant: str | None = None, **options: Any) -> TimeBalance:
    changes = {f"options__{name}": value for name, value in options.items()}
    method = unstarted(tiny_run("timebalance", variant=variant, **changes), seed)
    method.start(upstream, VIDEOS)
    return method


def gradients(method: TimeBalance) -> set[str]:
    return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


# --- the objective --------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["l2", "kl", "js"])
@pytest.mark.parametrize(
    ("teachers", "combination"),
    [("both", "reweighting"), ("both", "average"), ("first", "reweighting"), ("second", "reweighting")],
)
def test_terms_are_eq_4_7_and_8(upstream: dict[str, Path], teachers: str, combination: str, distance: str) -> None:
    """The teachers see the student's own clip, and each video is weighed by its own score."""
    method = student(upstream, teachers=teachers, combination=combination, distance=distance, score_range="clipped")
    method.eval()  # so that clips do not meet in batch statistics
    batch = tiny_batch(method)
    order = {"labelled": torch.tensor([4, 0, 2]), "unlabelled": torch.tensor([1, 7, 3])}
    terms = method.loss(replace(batch, video=order))
    scores = {stream: method.get_buffer(f"score_{stream}") for stream in order if method.options.reweighting}
    for view in (LABELLED, UNLABELLED):
        expected = supervised = 0.0
        for i in range(3):
            clip = batch.clips[view][i : i + 1]
            own = softmax_loop(method.predictor(clip)[0].tolist())
            said = {role: softmax_loop(teacher(clip)[0].tolist()) for role, teacher in method.teachers.items()}
            if teachers != "both":
                (target,) = said.values()
            else:
                s = scores[view.stream][order[view.stream][i]].item() if combination == "reweighting" else 0.5
                both = zip(said["invariant"], said["distinctive"], strict=True)
                target = [s * a + (1 - s) * b for a, b in both]
            expected += sum(distance_loop(target, own, distance)) / 3  # type: ignore[arg-type]
            supervised -= math.log(own[int(batch.label[i])]) / 3
        assert terms[f"distillation_{view.stream}"].item() == pytest.approx(expected, rel=1e-4)
        if view is LABELLED:
            assert terms["labelled"].item() == pytest.approx(supervised, rel=1e-4)


def test_weights_are_eq_2(upstream: dict[str, Path]) -> None:
    method = student(upstream, omega_labelled=0.5, omega_unlabelled=3)
    assert method.weights(0) == {"labelled": 1, "distillation_labelled": 0.5, "distillation_unlabelled": 3}


def test_only_the_student_learns(upstream: dict[str, Path]) -> None:
    method = student(upstream)
    batch = tiny_batch(method)
    own = {name for name, _ in method.named_parameters() if name.startswith("predictor.")}
    before = {name: value.clone() for name, value in method.teachers.state_dict().items()}
    for term in method.loss(batch):
        method.zero_grad(set_to_none=True)
        method.loss(batch)[term].backward()
        assert gradients(method) <= own
        assert "predictor.fc.weight" in gradients(method)
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    optimiser.step()
    method.after_step(0)
    method.train()
    assert not any(p.requires_grad for p in method.teachers.parameters())
    assert not any(part.training for teacher in method.teachers.values() for part in teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in method.teachers.state_dict().items())


def test_truth_changes_statistics_and_no_term(upstream: dict[str, Path]) -> None:
    method = student(upstream).eval()
    batch = tiny_batch(method)
    assert batch.truth is not None
    terms, stats = method.loss(batch), dict(method.stats)
    other = method.loss(replace(batch, truth=(batch.truth + 1) % CLASSES))
    assert all(torch.equal(terms[name], other[name]) for name in terms)
    assert method.stats["teacher_accuracy"] != stats["teacher_accuracy"]
    method.loss(replace(batch, truth=None))
    assert "teacher_accuracy" not in method.stats
    assert {"labelled_accuracy", "teacher_agreement", "score"} <= method.stats.keys()


def test_statistics_and_predictions_are_of_the_unlabelled_clips(upstream: dict[str, Path]) -> None:
    method = student(upstream).eval()
    batch = tiny_batch(method)
    method.loss(batch)
    clips = batch.clips[UNLABELLED]
    said = [teacher(clips).argmax(dim=1) for teacher in method.teachers.values()]
    assert method.stats["teacher_agreement"] == (said[0] == said[1]).float().mean()
    assert method.stats["score"].item() == pytest.approx(method.get_buffer("score_unlabelled")[:3].mean().item())
    torch.testing.assert_close(method.predictions["predictor"], method.predictor(clips).softmax(dim=1).detach())
    assert not method.predictions["predictor"].requires_grad


@pytest.mark.parametrize("silent", ["omega_labelled", "omega_unlabelled"])
def test_what_weighs_nothing_is_neither_read_nor_computed(upstream: dict[str, Path], silent: str) -> None:
    method = student(upstream, **{silent: 0})
    terms = method.loss(tiny_batch(method))
    absent = silent.replace("omega", "distillation")
    assert terms.keys() == method.weights(0).keys() == {
        "labelled", "distillation_labelled", "distillation_unlabelled"
    } - {absent}  # fmt: skip
    assert method.options.needs_unlabelled == (silent == "omega_labelled") == (UNLABELLED in method.views)


def test_without_teachers_it_is_supervised_training() -> None:
    method = student({}, teachers="none")
    supervised = tiny_method(tiny_run("finetune", model__dropout=0.0))
    supervised.predictor.load_state_dict(method.predictor.state_dict())
    batch = tiny_batch(method)
    assert method.views == (LABELLED,)
    assert method.options.roles == ()
    assert torch.equal(total(method, batch), total(supervised, batch))


def test_terms_are_float32_under_mixed_precision(upstream: dict[str, Path]) -> None:
    method = student(upstream)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method.loss(tiny_batch(method))
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


def test_compiling_reaches_the_student_and_both_teachers(
    upstream: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, compiled = student(upstream), []
    monkeypatch.setattr(type(method.predictor), "compile", lambda network, **_: compiled.append(network))
    method.compile(backend="eager")
    assert compiled == [method.predictor, *(teacher.network for teacher in method.teachers.values())]


def test_the_released_settings_train(upstream: dict[str, Path]) -> None:
    method, sums = student(upstream, variant="as-released"), student(upstream)
    method.eval(), sums.eval()  # so that clips do not meet in batch statistics
    batch = tiny_batch(method)
    assert method.weights(0) == {"labelled": 1, "distillation_labelled": 50, "distillation_unlabelled": 100}
    for name, term in method.loss(batch).items():
        classes = CLASSES if name.startswith("distillation") else 1
        assert term.item() * classes == pytest.approx(sums.loss(batch)[name].item(), rel=1e-5)


def test_one_labelled_and_one_unlabelled_clip_suffice(upstream: dict[str, Path]) -> None:
    method = student(upstream)
    assert total(method, tiny_batch(method, labelled=1, unlabelled=1, side=64)).isfinite()


def test_the_teachers_raise_the_student_above_its_labels(upstream: dict[str, Path]) -> None:
    """Thirty steps lower the loss by a third."""
    method = student(upstream)
    batch = tiny_batch(method)
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = total(method, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0]


# --- what it starts with --------------------------------------------------------------------------


def test_a_resumed_student_is_the_same(upstream: dict[str, Path]) -> None:
    """Teachers and scores are in the state, and replace what `start` took from the files."""
    method, other = student(upstream), student(upstream, seed=5)
    batch = tiny_batch(method)
    total(method, batch).backward()
    for value in other.buffers():
        value.zero_()
    other.load_state_dict(method.state_dict())
    for a, b in zip(method.eval().loss(batch).values(), other.eval().loss(batch).values(), strict=True):
        assert torch.equal(a, b)


def test_each_role_gets_its_own_network(upstream: dict[str, Path]) -> None:
    method = student(upstream)
    for role in ("invariant", "distinctive"):
        saved = torch.load(upstream[role], weights_only=True)["predictor"]
        assert all(
            torch.equal(value, saved[name]) for name, value in method.teachers[role].network.state_dict().items()
        )
    alone = student({"distinctive": upstream["distinctive"]}, teachers="second")
    assert list(alone.teachers) == ["distinctive"]
    assert not [name for name, _ in alone.named_buffers() if name.startswith("score")]


def test_a_teacher_may_be_another_network(upstream: dict[str, Path], tmp_path: Path) -> None:
    run = tiny_run("timebalance", model__width=0.25, model__dropout=0.5)
    write_teacher(tmp_path / "wide.pt", run, steps=1)
    method = student({**upstream, "invariant": tmp_path / "wide.pt"})
    assert method.teachers["invariant"].network.width == 2 * method.predictor.width
    first, second = (method.loss(tiny_batch(method))["distillation_unlabelled"] for _ in range(2))
    assert torch.equal(first, second)  # the teacher's dropout is off


@pytest.mark.parametrize("score_of", ["projection", "features"])
@pytest.mark.parametrize("score_range", ["printed", "clipped"])
def test_scores_follow_the_videos_by_path(
    upstream: dict[str, Path], tmp_path: Path, score_of: str, score_range: str
) -> None:
    found = write_similarity_file(tmp_path / "scores.npz")
    found.projection_score[3], found.features_score[5] = -0.4, -0.1
    order = np.random.default_rng(0).permutation(len(found.paths))
    names = ("paths", "projection", "features", "projection_score", "features_score")
    shuffled = replace(found, **{name: getattr(found, name)[order] for name in names})
    write_scores(tmp_path / "scores.npz", shuffled)
    method = student({**upstream, "scores": tmp_path / "scores.npz"}, score_of=score_of, score_range=score_range)
    score = found.projection_score if score_of == "projection" else found.features_score
    expected = dict(zip(found.paths.tolist(), score.tolist(), strict=True))
    for stream, videos in VIDEOS.items():
        wanted = [max(expected[v], 0.0) if score_range == "clipped" else expected[v] for v in videos]
        assert method.get_buffer(f"score_{stream}").tolist() == wanted


@pytest.mark.parametrize("distance", ["kl", "js"])
def test_a_video_that_resembles_itself_in_all_clips_hears_the_invariant_teacher_alone(
    upstream: dict[str, Path], tmp_path: Path, distance: str
) -> None:
    """Equal clips: s is 1 but for rounding, which may put it above; a sure teacher's p_T would fall below 0."""
    embedded = torch.randn(16, 1, 128, generator=torch.Generator().manual_seed(0)).expand(-1, 4, -1)
    alike = temporal_similarity(embedded)
    score = similarity_score(alike, alike).numpy()
    assert (score > 1).any()
    found = write_similarity_file(tmp_path / "scores.npz")
    write_scores(tmp_path / "scores.npz", replace(found, projection_score=score))
    method = student({**upstream, "scores": tmp_path / "scores.npz"}, distance=distance, score_range="clipped")
    with torch.no_grad():
        method.teachers["invariant"].network.fc.weight.mul_(100)
    batch = replace(tiny_batch(method), video={stream: torch.arange(3) for stream in VIDEOS})
    alone = student({"invariant": upstream["invariant"]}, distance=distance, teachers="first")
    alone.teachers["invariant"].load_state_dict(method.teachers["invariant"].state_dict())
    for mine, its in zip(method.eval().loss(batch).values(), alone.eval().loss(batch).values(), strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize(("student_pass", "meets"), [("joint", True), ("own", False)])
def test_passes_decide_whose_batch_statistics_are_shared(
    upstream: dict[str, Path], student_pass: str, meets: bool
) -> None:
    method = student(upstream, student_pass=student_pass)
    batch = tiny_batch(method)
    before = method.loss(batch)["labelled"].item()
    louder = replace(batch, clips={**batch.clips, UNLABELLED: 50 * batch.clips[UNLABELLED]})
    assert (method.loss(louder)["labelled"].item() != pytest.approx(before)) == meets


def test_before_the_start_there_is_no_loss() -> None:
    method = unstarted(tiny_run("timebalance"))
    with pytest.raises(RuntimeError, match="no teachers before `start`"):
        method.loss(tiny_batch(method))


def test_upstream_files_that_do_not_serve_are_named(upstream: dict[str, Path], tmp_path: Path) -> None:
    def start(files: dict[str, Path], videos: Any = VIDEOS) -> None:
        unstarted(tiny_run("timebalance")).start(files, videos)

    with pytest.raises(UserError, match="upstream files for: distinctive, scores"):
        start({"invariant": upstream["invariant"]})
    with pytest.raises(UserError, match="no such model"):
        start({**upstream, "distinctive": tmp_path / "absent.pt"})
    with pytest.raises(UserError, match="no such similarity scores"):
        start({**upstream, "scores": tmp_path / "absent.npz"})
    with pytest.raises(UserError, match=r"no similarity score for 2 of 3 videos, the first is new/1\.avi"):
        start(upstream, {**VIDEOS, "unlabelled": ["unlabelled/0.avi", "new/1.avi", "new/2.avi"]})

    run = tiny_run("finetune")
    other = tiny_method(run)
    save_model(tmp_path / "classes.pt", run, ["a", "b"], other, other.predictor)
    with pytest.raises(UserError, match=r"classes\.pt"):
        start({**upstream, "invariant": tmp_path / "classes.pt"})
    write_teacher(tmp_path / "normalised.pt", tiny_run("timebalance", augment__mean=[1, 1, 1]), steps=0)
    with pytest.raises(UserError, match="normalisation"):
        start({**upstream, "invariant": tmp_path / "normalised.pt"})


# --- options and the paper's runs -----------------------------------------------------------------


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(UserError, match="score_range: clipped"):
        tiny_run("timebalance", options__distance="kl")
    assert tiny_run("timebalance", options__distance="kl", options__combination="average")
    with pytest.raises(UserError, match="teachers: none"):
        tiny_run("timebalance", options__omega_labelled=0, options__omega_unlabelled=0)


@pytest.mark.parametrize(
    ("teachers", "combination", "roles"),
    [
        ("both", "reweighting", ("invariant", "distinctive", "scores")),
        ("both", "average", ("invariant", "distinctive")),
        ("first", "reweighting", ("invariant",)),
        ("second", "average", ("distinctive",)),
        ("none", "reweighting", ()),
    ],
)
def test_roles(teachers: str, combination: str, roles: tuple[str, ...]) -> None:
    run = tiny_run("timebalance", options__teachers=teachers, options__combination=combination)
    assert run.options.roles == roles
    assert run.options.needs_unlabelled == (teachers != "none")


def test_finetuning_starts_from_the_pretrained_body(upstream: dict[str, Path]) -> None:
    run = tiny_run("finetune")
    method = tiny_method(run)
    fresh = method.predictor.fc.weight.clone()
    remarks = method.start({"init": upstream["invariant"]}, VIDEOS)
    saved = torch.load(upstream["invariant"], weights_only=True)["predictor"]
    assert run.options.roles == ("init",)
    assert remarks == [f"initialised from {upstream['invariant']}"]
    for name, value in method.predictor.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(value, saved[name])
    assert torch.equal(method.predictor.fc.weight, fresh)


def test_the_variants_of_the_paper_can_be_planned(root: Path) -> None:
    """All of them in the setting of the ablations, and those of Table 7 on Kinetics-400."""
    names = {"ucf101.videossl-5": ("ucf101", "videossl-5"), "kinetics400.videossl-10": ("kinetics400", "videossl-10")}
    values = {
        "paper": "timebalance",
        "papers": ["timebalance"],
        "targets": ["tables/table2.tex"],
        "seeds": [0],
        "settings": {name: {"dataset": dataset, "labels": labels} for name, (dataset, labels) in names.items()},
    }
    planned = grid.build([root / "config" / "config.yaml"], values)

    def run(variant: str, setting: str = "ucf101.videossl-5") -> Any:
        return planned.select("timebalance", variant, setting)[0].config

    assert all(run(variant) for variant in planned.papers["timebalance"].experiments)
    # §4.2: the pretraining is shorter on Kinetics-400, the student's training is not
    lengths = {v: run(v, "kinetics400.videossl-10").train.epochs for v in ("ssl-invariant", "timebalance", "scratch")}
    assert lengths == {"ssl-invariant": 100, "timebalance": 150, "scratch": 150}
    assert run("ssl-invariant-2").seed == 100
    assert run("timebalance").model == run("invariant-teacher").model
    # Table 2 (a) and Table 3 (a) differ in the student's start alone
    assert run("no-teacher").model_copy(update={"upstream": {}}) == run("scratch-no-teacher")
