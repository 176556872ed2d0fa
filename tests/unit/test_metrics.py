"""Accuracies against a literal count, and the files they come from and go to."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssar.errors import UserError
from ssar.evaluation.metrics import compute, confusion, hits, write_metrics
from ssar.evaluation.predictions import Predictions, read_predictions, write_predictions
from ssar.reporting.results import look_up


def made(**changes):
    rng = np.random.default_rng(0)
    values = {
        "paths": np.array(["a/1.avi", "b/2.avi", "ä/3.avi"]),
        "labels": np.array([0, 1, 1]),
        "scores": rng.normal(size=(3, 2)).astype(np.float32),
        "features": rng.normal(size=(3, 4)).astype(np.float16),
        "classes": ["x", "y"],
        "views": "2x1-16-logits",
        "config": '{"seed": 3}',
        "model_sha256": "ab",
    }
    return Predictions(**values | changes)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_hits_are_those_of_a_literal_ranking(seed, videos, classes, k):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (videos, classes)).astype(np.float32)  # with ties
    labels = rng.integers(0, classes, videos)
    expected = [
        label in sorted(range(classes), key=lambda c: (-line[c], c))[:k]
        for line, label in zip(scores, labels, strict=True)
    ]
    assert hits(scores, labels, k).tolist() == expected


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_confusion_counts_every_video_once(seed, videos, classes):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(videos, classes)), rng.integers(0, classes, videos)
    expected = np.zeros((classes, classes), int)
    for line, label in zip(scores, labels, strict=True):
        expected[label, line.argmax()] += 1
    assert (confusion(scores, labels) == expected).all()


def test_a_network_that_always_says_the_same_is_right_by_chance_only():
    labels = np.arange(8)
    found = compute(np.zeros((8, 8)), labels, list("abcdefgh"))
    assert found["top1"] == 12.5
    assert found["top5"] == 62.5


def test_percentages_of_a_small_case():
    scores = np.array([[2.0, 1, 0], [2, 1, 0], [0, 2, 1], [0, 2, 1]])
    found = compute(scores, np.array([0, 1, 1, 0]), ["a", "b", "c"])
    assert found["n"] == 4
    assert found["top1"] == 50
    assert found["top5"] is None  # with three classes it would always be 100
    assert found["per_class"] == {"a": 50, "b": 50, "c": None}
    assert found["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_a_table_reaches_the_accuracy_of_one_class(tmp_path):
    classes = ["JavelinThrow", "playing drums"]
    found = compute(np.eye(2)[[0, 0, 1]], np.array([0, 0, 0]), classes)
    assert look_up(found, "per_class.JavelinThrow", tmp_path) == pytest.approx(200 / 3)
    assert look_up(found, "per_class.playing drums", tmp_path) is None
    assert look_up(found, "per_class.Unicycling", tmp_path) is None  # a dataset that stands for the paper's lacks it
    with pytest.raises(UserError, match=r"no metric `classes\.Unicycling`"):
        look_up(found, "classes.Unicycling", tmp_path)


def test_predictions_survive_the_file(tmp_path):
    before = made()
    write_predictions(tmp_path / "p.npz", before)
    after = read_predictions(tmp_path / "p.npz")
    for name, value in vars(before).items():
        assert np.array_equal(getattr(after, name), value), name
    assert after.scores.dtype == np.float32
    assert after.features.dtype == np.float16


def test_metrics_carry_their_provenance(tmp_path):
    write_predictions(tmp_path / "p.npz", made())
    (tmp_path / "run.json").write_text('{"git": "abc"}')
    write_metrics(tmp_path / "p.npz", "the-run", tmp_path / "run.json", [], tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["run"] == "the-run"
    assert found["config"] == {"seed": 3}
    assert found["provenance"] == {"git": "abc"}
    assert found["views"] == "2x1-16-logits"
    assert found["top5"] is None


def test_scores_that_are_not_finite_are_refused(tmp_path):
    scores = np.zeros((3, 2), np.float32)
    scores[1, 0] = np.nan
    write_predictions(tmp_path / "p.npz", made(scores=scores))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"b/2\.avi"):
        write_metrics(tmp_path / "p.npz", "r", tmp_path / "run.json", [], tmp_path / "metrics.json")
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip"])
def test_damaged_predictions_are_told(tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"p\.npz is damaged"):
        read_predictions(tmp_path / "p.npz")
    with pytest.raises(UserError, match="no such predictions"):
        read_predictions(tmp_path / "missing.npz")
