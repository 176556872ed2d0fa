"""Verdicts on claims: the intervals on simulated predictions with a known truth, and every claim of the papers."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ssar.errors import UserError
from ssar.evaluation.predictions import Predictions, write_predictions
from ssar.evaluation.scores import Similarity, write_scores
from ssar.experiments import Experiments, Paper, load_paper
from ssar.grid import build
from ssar.project import CONFIG, Setting
from ssar.reporting.claims.bootstrap import Estimate, Stratum, drawn, estimate, student
from ssar.reporting.claims.coverage import SITUATIONS, Situation, coverage, ours, redrawn
from ssar.reporting.claims.evaluate import Line, combined, evaluate, judged, verdict
from ssar.reporting.claims.outcomes import neighbours_right
from ssar.reporting.claims.published import mistakes, published
from ssar.reporting.claims.spec import ClaimSpec, Term
from ssar.reporting.claims.write import markdown, tidy, write_claims
from ssar.reporting.figures.tsne import neighbour_accuracy
from ssar.reporting.spec import TableSpec

PAPERS = ("ltg", "cmpl", "timebalance", "acl-mtl")
HERE = "ucf101.videossl-20"
ABSENT = "hmdb51.videossl-50"
CLASSES = ["clap", "dive", "golf", "jump", "kick", "wave"]


def claim(**values):
    """A claim of `ours` over `base`, or of whatever form `values` have."""
    given = {"says": "It is so.", "source": "Section 1", "settings": (HERE,), **values}
    if not {"greater", "rising", "same", "steadier", "grows_with"} & set(values):
        given |= {"greater": "ours", "than": ("base",)}
    return ClaimSpec.model_validate(given)


def paper_of(claims, tables=None):
    declared = Experiments(
        paper="made-up", title="Nothing", ablation_setting=HERE, views="1x1", average="logits", experiments={}
    )
    return Paper("made-up", Path("made-up"), declared, tables or {}, {}, claims)


def scores_of(right, labels, classes):
    """Scores (N, K) whose highest is the label of a video that is right, and the next class otherwise."""
    answer = np.where(right, labels, (labels + 1) % classes)
    return np.eye(classes, dtype=np.float32)[answer]


class Bench:
    """A folder of runs, and how claims find them."""

    def __init__(self, root):
        self.root = root

    def path(self, variant, seed, condition="", name="predictions.npz"):
        views = f"1x1{'+' if condition else ''}{condition}"
        return self.root / "runs" / f"{variant}.s{seed}" / (views if name == "predictions.npz" else "") / name

    def predictions(self, variant, seed, right, labels=None, condition="", paths=None, classes=CLASSES, features=None):
        """What a run says, right where `right` is."""
        right = np.asarray(right, bool)
        labels = np.arange(len(right)) % len(classes) if labels is None else np.asarray(labels)
        paths = [f"v{number:04}.avi" for number in range(len(right))] if paths is None else paths
        features = np.eye(len(classes))[labels] if features is None else features
        write_predictions(
            self.path(variant, seed, condition),
            Predictions(
                np.array(paths), labels, scores_of(right, labels, len(classes)), features.astype(np.float16),
                list(classes), "1x1", "{}", "0",
            ),
        )  # fmt: skip

    def fill(self, seeds=3, videos=120, **rates):
        """Runs of variants that are right as often as `rates` say; `ours_at_grayscale` is under a condition."""
        rng = np.random.default_rng(0)
        ease = rng.random(videos)
        for seed in range(seeds):
            for name, rate in rates.items():
                variant, _, condition = name.partition("_at_")
                right = 0.7 * ease + 0.3 * rng.random(videos) < rate
                self.predictions(variant, seed, right, condition=condition)

    def evaluate(self, claims, seeds=3, tables=None, **values):
        """Lines of claims, whose files are those of `seeds`."""
        claims = claims if isinstance(claims, dict) else {"it": claims}
        names = {"predictions": "predictions.npz", "record": "pseudo_labels.npz", "scores": "similarity.npz"}

        def results(source):
            if source.setting == ABSENT:
                return []
            if source.role == "architecture":
                return [str(self.path(source.variant, 0, name="architecture.json"))]
            name = names[source.role]
            return [str(self.path(source.variant, seed, source.condition, name)) for seed in range(seeds)]

        def setting(name):
            return None if name == ABSENT else Setting(dataset="mine", labels="percent-20")

        return evaluate(paper_of(claims, tables), results, setting, **{"resamples": 2000, **values})


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# --- the interval -----------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("case", ["seeds matter", "seeds dominate", "seeds do not matter"])
def test_the_interval_covers_the_truth(case, seeds):
    repeats = 200
    found = coverage(SITUATIONS[case], ours, seeds, 160, repeats, 500, np.random.default_rng(seeds))
    # three standard errors of a share of 200
    assert found.share > 0.95 - 3 * (0.95 * 0.05 / repeats) ** 0.5


def test_the_check_of_coverage_can_fail():
    found = coverage(SITUATIONS["seeds dominate"], redrawn(0), 3, 160, 200, 500, np.random.default_rng(0))
    assert found.share < 0.9


def test_equal_variants_are_rarely_told_apart_and_unequal_ones_often():
    rng = np.random.default_rng(1)
    equal = coverage(Situation((1, 1), 0.0, draw=0.3, own=0.1, noise=0.5, common=0.5), ours, 3, 160, 300, 500, rng)
    assert equal.above <= 0.025 + 3 * (0.025 * 0.975 / 300) ** 0.5
    clear = [ours(outcomes, 500, rng)[0] > 0 for outcomes in _experiments(1.5, 60, rng)]
    assert np.mean(clear) > 0.9


def _experiments(gap, repeats, rng):
    from ssar.reporting.claims.coverage import hits

    case = Situation((1, 1), gap, draw=0.2, own=0.05, noise=0.5, common=0.5)
    return [hits(case, 3, 400, rng) for _ in range(repeats)]


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423)])
def test_students_t(freedom, quantile):
    quantiles = student(20, freedom)
    assert quantiles[-1] == pytest.approx(quantile, rel=1e-4)  # the middle of the last twentieth is at 97.5 %
    assert quantiles == pytest.approx(-quantiles[::-1], rel=1e-6)


@pytest.mark.parametrize("videos", [7, 60])
def test_the_same_draws_give_the_same_numbers_as_loops(videos):
    """Every mean and variance by a loop over the videos that were drawn; both ways of drawing."""
    rng = np.random.default_rng(3)
    seeds, resamples = 3, 200
    values = rng.integers(-1, 2, (1, seeds, videos)).astype(float)
    found = estimate([Stratum(values)], lambda means: means[0][0], resamples, np.random.default_rng(5))

    generator = np.random.default_rng(5)
    columns = [tuple(values[0, :, video]) for video in range(videos)]
    kinds = sorted(set(columns))
    counts = np.array([columns.count(kind) for kind in kinds])
    times_drawn = drawn(counts, resamples, generator)
    assert (times_drawn.sum(axis=1) == videos).all()
    alone, pooled = [], []
    for line in times_drawn:
        chosen = [kind for kind, times in zip(kinds, line, strict=True) for _ in range(times)]
        means = [sum(video[seed] for video in chosen) / videos for seed in range(seeds)]
        alone.append(means)
        pooled.append(sum(means) / seeds)
    centre = sum(pooled) / resamples
    variance = sum((value - centre) ** 2 for value in pooled) / resamples
    pairs = []
    for one in range(seeds):
        for other in range(seeds):
            if one != other:
                first, second = (sum(line[seed] for line in alone) / resamples for seed in (one, other))
                pairs.append(sum((line[one] - first) * (line[other] - second) for line in alone) / resamples)
    shrink = max(sum(pairs) / len(pairs), 0) / variance
    effects = [sum(values[0, seed]) / videos for seed in range(seeds)]
    point = sum(effects) / seeds
    error = (sum((effect - point) ** 2 for effect in effects) / (seeds - 1) / seeds) ** 0.5
    spread = generator.permutation(student(resamples, seeds - 1))
    expected = [point + shrink**0.5 * (value - centre) + error * t for value, t in zip(pooled, spread, strict=True)]
    assert found.effect == pytest.approx(point)
    assert found.draws == pytest.approx(np.array(expected))


def test_both_ways_of_drawing_have_the_same_moments():
    """Video by video where there are many patterns, all of a pattern at once where there are few."""
    counts = np.array([1, 2, 5, 20])
    single = drawn(counts, 4000, np.random.default_rng(0))
    at_once = drawn(4 * counts, 4000, np.random.default_rng(0))
    assert single.mean(axis=0) == pytest.approx(counts, rel=0.1)
    assert at_once.mean(axis=0) == pytest.approx(4 * counts, rel=0.1)
    assert at_once.var(axis=0) == pytest.approx(4 * single.var(axis=0), rel=0.15)


def test_many_videos_need_little_memory():
    """20,000 different outcomes, as similarities are; all weights at once would be 640 MB."""
    values = np.random.default_rng(0).normal(size=(1, 3, 20_000))
    tracemalloc.start()
    Stratum(values).resampled(4000, np.random.default_rng(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6


def test_seeds_with_other_videos_share_none_of_the_videos_spread():
    """Each seed has its own draw of videos: their union is drawn, and each seed's mean is over its own."""
    values = np.array([[[100.0, 0, 7, 7], [7, 7, 100, 100]]])
    has = np.array([[True, True, False, False], [False, False, True, True]])
    stratum = Stratum(values, has)
    assert stratum.means()[0, :, 0].tolist() == [50, 100]
    resampled = stratum.resampled(500, np.random.default_rng(0))
    assert set(resampled[0, 1].tolist()) <= {0.0, 100.0}  # 0: none of the seed's videos was drawn
    means = lambda parts: parts[0][0]  # noqa: E731
    found = estimate([stratum], means, 500, np.random.default_rng(0))
    # 50 and 100: a standard error of 25 between the seeds, and nothing that both have in common
    assert found.draws == pytest.approx(75 + 25 * student(500, 1)[np.argsort(np.argsort(found.draws))])


# --- verdicts -----------------------------------------------------------------------------------


def test_verdict_of_an_interval():
    def of(low, high, **values):
        return verdict(claim(**values), (low, high), (low, high))

    assert of(0.1, 3) == "confirmed"
    assert of(-0.1, 3) == "undecided"
    assert of(-3, -0.1) == "refuted"
    assert of(0.1, 3, greater="ours", than=["base"], by=1) == "undecided"
    same = {"same": "ours", "than": ["base"], "within": 2}
    assert of(-1.9, 1.9, **same) == "confirmed"
    assert of(-1.9, 2.1, **same) == "undecided"
    assert of(2.1, 4, **same) == of(-4, -2.1, **same) == "refuted"


def test_a_claim_holds_in_all_of_its_comparisons():
    assert combined(["confirmed", "confirmed"]) == "confirmed"
    assert combined(["confirmed", "undecided"]) == "undecided"
    assert combined(["confirmed", "undecided", "not run"]) == "not run"
    assert combined(["confirmed", "not run", "refuted"]) == "refuted"


def test_one_of_several_comparisons_refutes_at_a_stricter_level():
    spec = claim(than=["base", "other"], greater="ours")
    estimated = Estimate(-2.2, np.random.default_rng(0).normal(-2.2, 1, 20_000), 3)
    line = Line("it", spec, "ours > base", HERE, HERE, None, effect=-2.2, seeds=3)
    assert judged([(line, estimated.interval)])[0].verdict == "refuted"
    twice = judged([(line, estimated.interval), (line, estimated.interval)])  # two settings, one stand-in
    assert twice[0].verdict == "refuted"
    other = replace(line, comparison="ours > other")
    first, second = judged([(line, estimated.interval), (other, estimated.interval)])
    assert first.high < 0
    assert first.verdict == second.overall == "undecided"
    assert "97.5 %" in first.remarks[0]


# --- evaluating runs ---------------------------------------------------------------------------


def test_a_clear_difference_is_confirmed_and_its_opposite_refuted(bench):
    bench.fill(videos=400, ours=0.8, base=0.4)
    line, other = bench.evaluate({"a": claim(), "b": claim(greater="base", than=["ours"])})
    assert (line.verdict, other.verdict) == ("confirmed", "refuted")
    assert line.effect == pytest.approx(-other.effect)
    assert line.effect == pytest.approx(_accuracy(bench, "ours") - _accuracy(bench, "base"))
    assert (line.seeds, line.videos, line.measured_on) == (3, 400, "mine.percent-20")
    assert line.runs == ("ours.s0", "base.s0", "ours.s1", "base.s1", "ours.s2", "base.s2")


def _accuracy(bench, variant, seeds=3, condition=""):
    from ssar.evaluation.metrics import compute
    from ssar.evaluation.predictions import read_predictions

    found = [read_predictions(bench.path(variant, seed, condition)) for seed in range(seeds)]
    return np.mean([compute(each.scores, each.labels, each.classes)["top1"] for each in found])


def test_every_form_has_the_effect_that_it_says(bench):
    rates = {"ours": 0.7, "base": 0.5, "third": 0.3}
    changed = {"ours_at_grayscale": 0.6, "base_at_grayscale": 0.2}
    bench.fill(**rates, **changed)
    of = {variant: _accuracy(bench, variant) for variant in rates}
    grey = {variant: _accuracy(bench, variant, condition="grayscale") for variant in ("ours", "base")}
    steady = {"steadier": "ours", "than": ["base"], "under": "grayscale"}
    lines = bench.evaluate(
        {
            "rising": claim(rising=["third", "base", "ours"]),
            "same": claim(same="ours", than=["base"], within=1),
            "gains": claim(greater={"gain": ["ours", "base"]}, than=[{"gain": ["base", "third"]}]),
            "steadier": claim(**steady),
            "relative": claim(**steady, relative=True),
            "condition": claim(greater="base", than=["base@grayscale"]),
        }
    )
    effects = [line.effect for line in lines]
    assert effects == pytest.approx(
        [
            of["base"] - of["third"],
            of["ours"] - of["base"],
            of["ours"] - of["base"],
            of["ours"] - 2 * of["base"] + of["third"],
            (of["base"] - grey["base"]) - (of["ours"] - grey["ours"]),
            100 * ((of["base"] - grey["base"]) / of["base"] - (of["ours"] - grey["ours"]) / of["ours"]),
            of["base"] - grey["base"],
        ]
    )
    assert all(line.low < line.effect < line.high for line in lines)
    assert lines[0].comparison == "base > third"
    assert lines[1].comparison == "ours > base"


def test_a_gain_that_grows_with_an_accuracy(bench):
    """Per class: the third variant is right as often as the gain is large."""
    labels = np.repeat(np.arange(6), 50)
    rng = np.random.default_rng(0)
    for seed in range(3):
        chance = (labels + 1) / 8
        bench.predictions("third", seed, rng.random(300) < chance, labels)
        bench.predictions("base", seed, np.zeros(300), labels)
        bench.predictions("ours", seed, rng.random(300) < chance / 2, labels)
    line, mixed = bench.evaluate(
        {
            "it": claim(greater={"gain": ["ours", "base"]}, grows_with="third"),
            "mixed": claim(greater={"gain": ["ours", "base"]}, grows_with="ours"),
        }
    )
    means = {
        variant: [np.mean([_class_accuracy(bench, variant, seed, k) for seed in range(3)]) for k in range(6)]
        for variant in ("ours", "third")
    }
    assert line.effect == pytest.approx(np.polyfit(means["third"], means["ours"], 1)[0])
    assert line.verdict == "confirmed"
    assert 0.2 < line.low < 0.5 < line.high < 1  # half of what the third variant is right
    assert "both axes" in mixed.remarks[0]


def _class_accuracy(bench, variant, seed, label):
    from ssar.evaluation.predictions import read_predictions

    found = read_predictions(bench.path(variant, seed))
    chosen = found.labels == label
    return 100 * (found.scores[chosen].argmax(axis=1) == label).mean()


def test_one_seed_decides_nothing(bench):
    bench.fill(seeds=1, ours=0.9, base=0.1)
    (line,) = bench.evaluate(claim(), seeds=1)
    assert line.verdict == "undecided"
    assert line.low > 0
    assert "one seed" in line.remarks[0]


def test_settings_with_one_stand_in_have_one_interval(bench):
    bench.fill(seeds=2, ours=0.6, base=0.4)
    bench.predictions("base", 1, np.ones(120))
    first, second = bench.evaluate(claim(settings=[HERE, "ucf101.videossl-10"]), seeds=2)
    assert (first.low, first.high) == (second.low, second.high)
    assert first.low == -100  # no difference is larger, however little two seeds tell


def test_seeds_that_are_missing_on_one_side_are_left_out(bench):
    bench.fill(seeds=3, ours=0.9, base=0.1)
    bench.path("base", 1).unlink()
    (line,) = bench.evaluate(claim())
    assert line.seeds == 2
    assert line.runs == ("ours.s0", "base.s0", "ours.s2", "base.s2")
    assert line.remarks == ("2 of 3 seeds, missing: base 1",)
    bench.path("ours", 0).unlink()
    bench.path("ours", 2).unlink()
    (line,) = bench.evaluate(claim())
    assert (line.verdict, line.effect) == ("not run", None)
    assert line.remarks == ("predictions.npz missing, of 3 seeds: ours 2, base 1",)


def test_what_is_not_at_this_scale_is_not_run(bench):
    bench.fill(videos=400, ours=0.9, base=0.1)
    here, absent = bench.evaluate(claim(settings=[HERE, ABSENT]))
    assert (here.verdict, absent.verdict, here.overall) == ("confirmed", "not run", "confirmed")  # of what is there
    assert absent.remarks == ("the setting is not at this scale",)
    (line,) = bench.evaluate(claim(classes=["clap", "fence"]))
    assert line.remarks == ("the dataset has no class fence",)


def test_classes_choose_the_test_videos(bench):
    right = {"ours": [1, 1, 0, 0, 0, 0], "base": [0, 1, 1, 1, 1, 1]}
    for seed in range(2):
        for variant, values in right.items():
            bench.predictions(variant, seed, values * 5)
    (line,) = bench.evaluate(claim(classes=["clap", "dive"]), seeds=2)
    assert (line.effect, line.videos) == (50, 10)


def test_two_variants_with_the_same_runs_are_not_compared(bench, monkeypatch):
    """Else `same` would be confirmed by a run that equals itself."""
    bench.fill(ours=0.5)
    path = bench.path
    monkeypatch.setattr(bench, "path", lambda variant, *rest, **values: path("ours", *rest, **values))
    (line,) = bench.evaluate(claim(same="ours", than=["base"], within=5))
    assert line.verdict == "not run"
    assert "the same runs" in line.remarks[0]


def test_top5_of_few_classes_is_not_run(bench):
    for variant in ("ours", "base"):
        bench.predictions(variant, 0, [1, 0, 1], classes=CLASSES[:5])
    (line,) = bench.evaluate(claim(measure="top5"), seeds=1)
    assert line.remarks == ("Top-5 says nothing among 5 classes",)


def test_videos_are_matched_by_their_paths(bench):
    bench.fill(seeds=2, videos=6, ours=0.9, base=0.1)
    paths = [f"v{number:04}.avi" for number in (1, 0, 2, 3, 4, 5)]
    bench.predictions("base", 1, np.ones(6), paths=paths)
    with pytest.raises(UserError, match=r"base.s1.*the same videos in another order than.*s0"):
        bench.evaluate(claim(), seeds=2)
    bench.predictions("base", 1, np.ones(5))
    with pytest.raises(UserError, match=r"base.s1.*of other videos"):
        bench.evaluate(claim(), seeds=2)
    bench.predictions("base", 1, np.ones(6), labels=[1, 1, 2, 3, 4, 5])
    with pytest.raises(UserError, match=r"base.s1.*other labels"):
        bench.evaluate(claim(), seeds=2)
    bench.predictions("base", 1, np.ones(6), classes=[*CLASSES[:5], "yawn"])
    with pytest.raises(UserError, match=r"base.s1.*other classes"):
        bench.evaluate(claim(), seeds=2)


def test_damaged_files_are_told(bench):
    bench.fill(seeds=2, ours=0.9, base=0.1)
    bench.path("ours", 1).write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(UserError, match=r"ours.s1.*damaged"):
        bench.evaluate(claim(), seeds=2)
    with pytest.raises(UserError, match="100 resamples are too few"):
        bench.evaluate(claim(), resamples=100)


def test_training_videos_are_another_set_of_each_seed(bench):
    """The gap between training and test: every seed has drawn other labelled videos."""
    bench.fill(seeds=2, videos=90, ours=0.6, base=0.4)
    for seed in range(2):
        for variant, right in (("ours", [1, 1, 0, 1]), ("base", [1, 1, 1, 1])):
            paths = [f"train{seed}-{number}.avi" for number in range(4)]
            bench.predictions(variant, seed, right, condition="training", paths=paths)
    gap, overfit = bench.evaluate(
        {
            "gap": claim(steadier="ours", than=["base"], under="training"),
            "overfits": claim(greater="base@training", than=["base"]),
        },
        seeds=2,
    )
    of = {variant: _accuracy(bench, variant, 2) for variant in ("ours", "base")}
    assert gap.effect == pytest.approx((100 - of["base"]) - (75 - of["ours"]))
    assert overfit.effect == pytest.approx(100 - of["base"])
    assert gap.videos == 90 + 8
    bench.predictions("base", 1, [1, 1, 1, 1], condition="training", paths=list("abcd"))
    with pytest.raises(UserError, match=r"s1.*of other videos than .*s1"):
        bench.evaluate(claim(steadier="ours", than=["base"], under="training"), seeds=2)


def test_operations_are_exact(bench):
    for variant, value in (("ours", 146.02), ("base", 94.0)):
        path = bench.path(variant, 0, name="architecture.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"gflops": value}))
    greater, same = bench.evaluate(
        {
            "greater": claim(measure="gflops"),
            "same": claim(measure="gflops", same="ours", than=["base"], within=1),
        }
    )
    assert (greater.effect, greater.low, greater.seeds, greater.verdict) == (52.02, None, None, "confirmed")
    assert same.verdict == "refuted"


def test_nearest_neighbours(bench):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    features = (np.eye(8)[labels] + rng.normal(0, 0.6, (60, 8))).astype(np.float16)
    right = neighbours_right(features, labels)
    assert 100 * right.mean() == pytest.approx(neighbour_accuracy(features.astype(np.float32), labels, 5))
    assert 0.3 < right.mean() < 1
    for variant, own in (("ours", features), ("base", rng.normal(size=(60, 8)))):
        bench.predictions(variant, 0, np.zeros(60), labels, features=own)
    (line,) = bench.evaluate(claim(measure="knn"), seeds=1)
    assert line.effect > 20


def test_pseudo_labels_are_those_of_the_auxiliary_network(bench):
    """Right and confident ones at the end, by the threshold of the run's own options."""
    truth = np.array([0, 1, 2, 3])
    label = np.array([[[0, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 1, 2, 0]]], np.int16)  # snapshot, network, video
    confidence = np.full(label.shape, 0.85, np.float32)
    confidence[1, 1, 2] = 0.5
    for variant, networks in (("ours", ["predictor", "auxiliary"]), ("base", ["predictor"])):
        path = bench.path(variant, 0, name="pseudo_labels.npz")
        path.parent.mkdir(parents=True)
        count = len(networks)
        np.savez(
            path, paths=np.array(list("abcd")), epochs=np.array([1.0, 2.0]), networks=np.array(networks),
            label=label[:, :count], confidence=confidence[:, :count], truth=truth,
        )  # fmt: skip
        run = next(run for run in GRID.runs.values() if run.config.method == "cmpl")
        config = json.loads(run.canon)
        config["options"]["threshold"] = 0.8
        path.with_name("run.json").write_text(json.dumps({"config": config}))
    (line,) = bench.evaluate(claim(measure="labels"), seeds=1)
    assert (line.effect, line.videos) == (25, 4)


def test_similarities_of_two_teachers(bench):
    matrices = np.ones((3, 2, 2, 2), np.float32)
    matrices[:, 0, 0, 1] = matrices[:, 0, 1, 0] = [0.9, 0.8, 0.7]
    matrices[:, 1, 0, 1] = matrices[:, 1, 1, 0] = 0.5
    zeros = np.zeros(3, np.float32)
    for seed in range(2):
        path = bench.path("student", seed, name="similarity.npz")
        path.parent.mkdir(parents=True)
        write_scores(path, Similarity(np.array(list("abc")), matrices, 0 * matrices, zeros, zeros, ["", ""]))
    sides = {"greater": "student:invariant", "than": ["student:distinctive"]}
    (line,) = bench.evaluate(claim(measure="similarity", **sides), seeds=2)
    assert line.effect == pytest.approx(0.3)
    assert line.verdict == "confirmed"


# --- what must not matter -----------------------------------------------------------------------

QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@QUICK
@given(st.permutations(range(12)), st.permutations(CLASSES), st.integers(0, 2**12 - 1), st.integers(0, 2**12 - 1))
def test_order_and_names_do_not_matter(bench, order, names, first, second):
    order, rng = np.array(order), np.random.default_rng(first)
    right = {
        (variant, seed): (bits >> np.arange(12) & 1) ^ (rng.random(12) < 0.2)
        for variant, bits in (("ours", first), ("base", second))
        for seed in range(2)
    }
    labels, paths = np.arange(12) % 6, np.array([f"{number}.avi" for number in range(12)])
    claims = {"it": claim(), "other": claim(greater="base", than=["ours"])}
    texts = []
    for places, classes in ((np.arange(12), CLASSES), (order, CLASSES), (np.arange(12), names)):
        for (variant, seed), hit in right.items():
            bench.predictions(variant, seed, hit[places], labels[places], paths=paths[places], classes=classes)
        texts.append(tidy(bench.evaluate(claims, seeds=2)))
    assert texts[0] == texts[1] == texts[2]
    assert texts[0] == tidy(bench.evaluate(claims, seeds=2))
    line, opposite = bench.evaluate(claims, seeds=2)
    assert line.effect == pytest.approx(-opposite.effect)
    alone = bench.evaluate({"other": claims["other"]}, seeds=2)
    assert alone == [opposite]


# --- published effects --------------------------------------------------------------------------

TABLE = TableSpec.model_validate(
    {
        "caption": "One.",
        "source": "Table 1",
        "stub": ["Method"],
        "columns": [
            {"key": "a", "header": ["A"], "setting": HERE},
            {"key": "grey", "header": ["G"], "setting": HERE, "condition": "grayscale"},
            {"key": "b", "header": ["B"], "setting": ABSENT},
        ],
        "rows": [
            {"key": "base", "header": ["Base"], "variant": "base", "published": [50, 25, None]},
            {"key": "ours", "header": ["Ours"], "variant": "ours", "published": [80, 60, 70]},
        ],
    }
)


def test_published_effects_are_those_of_the_table():
    steady = {"steadier": "ours", "than": ["base"], "under": "grayscale", "table": "t"}
    claims = {
        "dash": claim(settings=[HERE, ABSENT], table="t"),
        "given": claim(settings=[HERE, ABSENT], table="t", published=[1, 2]),
        "steady": claim(**steady),
        "relative": claim(**steady, relative=True),
        "none": claim(),
    }
    paper = paper_of(claims, {"t": TABLE})
    found = {name: published(paper, spec) for name, spec in claims.items()}
    expected = {"dash": [30, None], "given": [30, 2], "steady": [5], "relative": [25], "none": [None]}
    assert found == expected


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"table": "t9"}, "there is no table `t9`; tables: t"),
        ({"table": "t", "greater": "ours", "than": ["third"]}, "no row and column for top1 of third"),
        ({"table": "t", "measure": "top5"}, "no row and column for top5 of ours"),
        ({"table": "t", "classes": ["clap"]}, "prints no effect on classes"),
    ],
)
def test_a_table_that_does_not_have_the_values_is_a_mistake(values, problem):
    paper = paper_of({"it": claim(**values)}, {"t": TABLE})
    assert problem in "\n".join(mistakes(paper))
    with pytest.raises(UserError, match=r"claims\.yaml"):
        published(paper, paper.claims["it"])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"greater": "ours"}, "exactly one form"),
        ({"greater": "ours", "than": ["base"], "rising": ["base", "ours"]}, "exactly one form"),
        ({"greater": "ours", "than": ["base"], "within": 2}, "`within` has no meaning with `greater`"),
        ({"published": [1, 2]}, "2 published effects for 1 comparisons"),
        ({"greater": "ours@purple", "than": ["base"]}, "condition `purple`"),
        ({"greater": "ours@grayscale", "than": ["base"], "measure": "gflops"}, "a condition changes the test"),
        ({"greater": "ours", "than": ["base"], "measure": "similarity"}, "similarities are of a teacher"),
        ({"greater": "ours:invariant", "than": ["base"]}, "similarities are of a teacher"),
        ({"steadier": "ours", "than": ["base"], "under": "tg"}, "is another network"),
        ({"greater": "ours", "than": ["base"], "classes": ["a"], "measure": "labels"}, "`classes` choose test videos"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(values, problem):
    with pytest.raises(ValidationError, match=problem):
        claim(**values)


def test_conditions_are_joined():
    terms = list(claim(steadier="ours@tg", than=["base"], under="training").terms())
    assert Term("ours", condition="tg+training") in terms
    assert Term("base", condition="training") in terms


# --- what is written ----------------------------------------------------------------------------


def test_the_files(bench, tmp_path):
    bench.fill(ours=0.9, base=0.3)
    claims = {"it": claim(settings=[HERE, ABSENT], table="t", says="A | B"), "other": claim(published=[-2.25])}
    lines = bench.evaluate(claims, tables={"t": TABLE})
    rows = list(csv.DictReader(io.StringIO(tidy(lines))))
    assert [row["claim"] for row in rows] == ["it", "it", "other"]
    assert (rows[0]["published"], rows[0]["level"], rows[0]["seeds"]) == ("30.0", "95", "3")
    assert (rows[1]["effect"], rows[1]["low"], rows[1]["verdict"]) == ("", "", "not run")
    text = markdown(lines, "Nothing", "A small network: not comparable.", 2000, 0)
    assert "2 claims: 2 confirmed, 0 refuted, 0 undecided, 0 not run." in text
    assert r"| A \| B | **confirmed**, 1 of 2 comparisons |" in text
    assert f"{lines[0].effect:+.1f} [{lines[0].low:+.1f}, {lines[0].high:+.1f}] | +30.0 |" in text
    assert "-2.25" in text
    assert "mine.percent-20 for ucf101.videossl-20" in text
    assert "not comparable" in text


GRID = build([CONFIG / "config.yaml"])


def test_both_files_of_a_paper_without_runs(tmp_path, monkeypatch):
    from ssar.targets import Targets

    monkeypatch.chdir(tmp_path)
    write_claims(Targets(GRID), "cmpl", tmp_path / "claims" / "cmpl.md")
    rows = list(csv.DictReader((tmp_path / "claims" / "cmpl.csv").open()))
    assert {row["verdict"] for row in rows} == {"not run"}
    assert (tmp_path / "claims" / "cmpl.md").read_text().startswith("# Claims of ")


# --- the papers' claims -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPERS)
def test_what_the_claims_name_exists(name):
    paper = load_paper(name)
    assert paper.claims
    assert mistakes(paper) == []
    for key, spec in paper.claims.items():
        assert len(published(paper, spec)) == spec.count
        for source in spec.sources():
            assert GRID.results(name, source), f"{key}: {source}"
    says = [spec.says for spec in paper.claims.values()]
    assert len(set(says)) == len(says)


def test_there_are_claims_of_every_form_and_measure():
    claims = {(name, key): spec for name in PAPERS for key, spec in load_paper(name).claims.items()}
    assert len(claims) >= 60
    assert {spec.form for spec in claims.values()} == {"greater", "rising", "same", "steadier", "grows_with"}
    printed = [value for (name, _), spec in claims.items() for value in published(GRID.papers[name], spec)]
    assert sum(value is not None for value in printed) > len(printed) / 2


def test_the_example_of_the_documentation(root):
    text = (root / "docs" / "claims.md").read_text(encoding="utf-8")
    ((name, values),) = yaml.safe_load(text.split("```yaml")[1].split("```")[0]).items()
    assert ClaimSpec.model_validate(values).count == 4
    declared = load_paper("ltg").claims[name]
    assert (values["greater"], tuple(values["than"]), values["table"]) == (declared.greater, declared.than, "table1")
