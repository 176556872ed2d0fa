"""The embedded dataset: deterministic, defined by motion, with its ground truth beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ssar.config import Synthact
from ssar.data.synthact import CLASSES, generate
from ssar.data.synthact.actions import perform, stages_of
from ssar.data.synthact.motions import STAGES
from ssar.data.synthact.render import frames
from ssar.data.synthact.videos import compose

TINY = {"width": 48, "height": 36, "min_frames": 8, "max_frames": 12}


def rendered(config: Synthact, label: int, split: str, seed: int) -> np.ndarray:
    """All frames of one video before encoding: (T, H, W, 3)."""
    return np.stack(list(frames(*compose(config, label, split, seed), config.width, config.height)))


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def rows(root: Path) -> list[dict[str, str]]:
    with open(root / "meta.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_classes_are_made_of_known_stages_and_hold_the_promised_pairs() -> None:
    assert len(set(CLASSES)) == len(CLASSES) >= 12
    assert {stage for name in CLASSES for stage in stages_of(name)} <= set(STAGES)
    for first, second in (("rise", "fall"), ("approach", "recede"), ("run-then-jump", "jump-then-run")):
        assert {first, second} <= set(CLASSES[: Synthact().classes])


def test_config_knows_how_many_classes_there_are() -> None:
    assert Synthact(classes=len(CLASSES)).classes == len(CLASSES)
    with pytest.raises(ValidationError):
        Synthact(classes=len(CLASSES) + 1)


@pytest.mark.parametrize("wrong", [{"width": 159}, {"min_frames": 3}, {"min_frames": 50, "max_frames": 49}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Synthact(**wrong)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CLASSES), st.integers(4, 130), st.integers(0, 2**32 - 1))
def test_every_performance_is_complete_and_stays_in_view(name: str, length: int, seed: int) -> None:
    done = perform(name, length, np.random.default_rng(seed))
    track = done.track
    for signal in (track.x, track.y, track.scale, track.angle, track.gait, track.arm):
        assert signal.shape == (length,)
        assert np.isfinite(signal).all()
    assert tuple(stage for stage, _ in done.stages) == stages_of(name)
    assert done.stages[0][1] == 0
    assert np.abs(track.x).max() < 0.6
    assert np.abs(track.y).max() < 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 80))
def test_directed_classes_are_time_reversed_pairs(seed: int, length: int) -> None:
    for forth, back, signal in (("rise", "fall", "y"), ("approach", "recede", "scale")):
        one = getattr(STAGES[forth](np.random.default_rng(seed), length), signal)
        other = getattr(STAGES[back](np.random.default_rng(seed), length), signal)
        np.testing.assert_array_equal(one, other[::-1])
        assert np.all(np.diff(one) * (one[-1] - one[0]) >= 0)


def test_order_of_stages_is_all_that_tells_a_pair_apart() -> None:
    """In run-then-jump the path leads sideways first; in jump-then-run, last."""
    for seed in range(10):
        for name, moves_first in (("run-then-jump", True), ("jump-then-run", False)):
            done = perform(name, 60, np.random.default_rng(seed))
            cut = done.stages[1][1]
            before, after = np.ptp(done.track.x[:cut]), np.ptp(done.track.x[cut:])
            assert (before > after) == moves_first


def test_frames_are_a_function_of_the_seed() -> None:
    config = Synthact(**TINY)
    one = rendered(config, 0, "train", 5)
    np.testing.assert_array_equal(one, rendered(config, 0, "train", 5))
    assert one.dtype == np.uint8
    assert one.shape[1:] == (36, 48, 3)
    other = rendered(config, 0, "train", 6)
    assert one.shape != other.shape or (one != other).any()


def test_bias_ties_the_look_to_the_class_in_training_only() -> None:
    config = Synthact(**TINY, bias=1.0)
    train = {compose(config, 2, "train", seed)[0].look for seed in range(6)}
    test = {compose(config, 2, "test", seed)[0].look for seed in range(6)}
    assert len(train) == 1
    assert len(test) == 6
    assert train != {compose(config, 3, "train", 0)[0].look}
    assert len({compose(Synthact(**TINY), 2, "train", seed)[0].look for seed in range(6)}) == 6


def test_bias_changes_no_motion() -> None:
    plain, biased = (compose(Synthact(**TINY, bias=bias), 4, "train", 3)[1] for bias in (0.0, 1.0))
    np.testing.assert_array_equal(plain.track.x, biased.track.x)
    assert plain.stages == biased.stages


def test_camera_never_leaves_the_background() -> None:
    config = Synthact(width=48, height=36)
    for seed in range(40):
        scene, _ = compose(config, 0, "train", seed)
        assert len(scene.camera) == len(scene.gain)
        assert np.abs(scene.camera).max() <= 0.12


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
def test_files_hold_the_rendered_frames(tmp_path: Path, codec: str) -> None:
    config = Synthact(**TINY, classes=2, train_per_class=1, test_per_class=1, codec=codec)
    generate(config, tmp_path, jobs=1)
    found = rows(tmp_path)
    assert list(found[0]) == ["path", "class", "split", "stages", "actor", "scene", "frames", "seed"]
    assert sorted(row["split"] for row in found) == ["test", "test", "train", "train"]
    for row in found:
        video = decoded(tmp_path / "videos" / row["path"])
        truth = rendered(config, CLASSES.index(row["class"]), row["split"], int(row["seed"]))
        assert len(video) == int(row["frames"]) == len(truth)
        assert np.abs(video.astype(float) - truth).mean() < 12


def test_any_number_of_processes_makes_equal_files_and_stale_ones_go(tmp_path: Path) -> None:
    small = Synthact(**TINY, classes=2, train_per_class=1, test_per_class=1)
    generate(small.model_copy(update={"train_per_class": 2}), tmp_path / "one", jobs=1)
    generate(small, tmp_path / "one", jobs=1)
    generate(small, tmp_path / "two", jobs=2)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 2 * 2 + 1
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
