"""What a test may change about the protocol: corrupted colours, held frames, the training videos, another network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from tests.videos import moving_frames, write_video

from ssar.conditions import KNOWN, PROTOCOL, Condition
from ssar.config import run_model
from ssar.data.reader import open_video
from ssar.data.sampling import uniform_indices
from ssar.engine.weights import save_model
from ssar.errors import UserError
from ssar.evaluation.corruptions import FACTORS, corrupt
from ssar.evaluation.predict import predict
from ssar.evaluation.predictions import read_predictions
from ssar.methods import method_class
from ssar.runtime import Runtime
from ssar.views import Views

CLASSES = ["a", "b"]
RUNTIME = Runtime(accelerator="cpu", workers=0, threads=1)


@given(st.sets(st.sampled_from(KNOWN)).flatmap(lambda words: st.permutations(sorted(words))))
def test_a_condition_has_one_spelling(words):
    text = "+".join(words)
    changes = [word for word in words if word not in ("tg", "training")]
    if len(changes) > 1:
        with pytest.raises(UserError, match="at most one of each group"):
            Condition.parse(text)
        return
    condition = Condition.parse(text)
    assert set(condition.slug.split("+")) - {""} == set(words)
    assert Condition.parse(condition.slug) == condition
    views = Views.parse("10x3@256", "logits", text)
    assert Views.from_slug(views.slug) == views
    assert views.slug == "10x3-256-logits" + (f"+{condition.slug}" if words else "")


@pytest.mark.parametrize("text", ["sepia", "tg+tg", "every3", "+", "training+grayscale+training"])
def test_an_unknown_condition_is_refused(text):
    with pytest.raises(UserError, match="expected words"):
        Condition.parse(text)


def test_the_protocol_itself_changes_nothing():
    assert Condition.parse("") == PROTOCOL
    assert PROTOCOL.slug == ""
    assert PROTOCOL.stride == 1


# --- pixels ---------------------------------------------------------------------------------------


def clip(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (6, 2, 3, 5, 4), dtype=np.uint8))


@pytest.mark.parametrize(("corruption", "enhancer"), [("contrast", "Contrast"), ("brightness", "Brightness")])
def test_the_enhancements_are_pils_with_one_factor_for_a_clip(corruption, enhancer):
    views = clip()  # two crops of three clips
    changed = corrupt(views, corruption, "a.avi", clips=3)
    factors = set()
    for number in range(3):
        # the factor that explains the first frame explains all frames and crops of the clip
        frame = Image.fromarray(views[number, 0].permute(1, 2, 0).numpy())
        candidates = np.linspace(*FACTORS, 4001)
        wanted = changed[number, 0].permute(1, 2, 0).numpy().astype(int)
        distance = [
            np.abs(np.asarray(getattr(ImageEnhance, enhancer)(frame).enhance(f)).astype(int) - wanted).max()
            for f in candidates[::40]
        ]
        factor = candidates[::40][int(np.argmin(distance))]
        factors.add(round(float(factor), 2))
        for crop in (number, number + 3):
            for t in range(2):
                frame = Image.fromarray(views[crop, t].permute(1, 2, 0).numpy())
                seen = np.asarray(getattr(ImageEnhance, enhancer)(frame).enhance(factor)).astype(int)
                assert np.abs(seen - changed[crop, t].permute(1, 2, 0).numpy().astype(int)).max() <= 4
    assert len(factors) == 3


def test_grayscale_leaves_no_colour():
    changed = corrupt(clip(), "grayscale", "a.avi", clips=3)
    assert (changed == changed[:, :, :1]).all()


def test_a_video_is_corrupted_alike_in_every_run_and_unlike_another():
    assert torch.equal(corrupt(clip(), "contrast", "a.avi", 3), corrupt(clip(), "contrast", "a.avi", 3))
    assert not torch.equal(corrupt(clip(), "contrast", "a.avi", 3), corrupt(clip(), "contrast", "b.avi", 3))


# --- predictions ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    lines = []
    for number, count in enumerate((40, 33, 36)):
        write_video(root / f"{number}.avi", moving_frames(count, seed=number))
        flags = {"labelled": int(number == 2), "unlabelled": int(number == 2), "test": int(number < 2)}
        lines.append({"path": f"{number}.avi", "label": number % 2, "class": CLASSES[number % 2], "group": ""} | flags)
        lines[-1]["frames"] = count
    pd.DataFrame(lines).to_csv(root / "split.csv", index=False)
    return root


def run_config(method):
    return run_model(method).model_validate(
        {
            "method": method,
            "version": 1,
            "dataset": "toy",
            "data": {"tg_source": "online"},
            "labels": {"protocol": "all"},
            "clip": {"frames": 4, "stride": 3},
            "augment": {"weak": {"short_side": 28, "size": 24}},
            "model": {"depth": 10, "width": 0.125},
            "optim": {"lr": 0.1},
            "train": {"steps": 1},
            "options": {"threshold": 0.3, **({"w_fm": 0.5, "w_kd": 1, "w_clr": 0} if method == "ltg" else {})},
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The method with random weights, and its file."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.manual_seed(0)
    method = method_class("ltg")(run_config("ltg"), len(CLASSES)).eval()
    for network in (method.predictor, method.teacher):
        network.fc.weight.data.normal_()
    save_model(path, method.config, CLASSES, method, method.predictor)
    return method, path


def scores(data, path, out, condition):
    views = Views.parse("2x1@16", "logits", condition)
    predict(path, data / "split.csv", data, None, views, out / "p.npz", RUNTIME)
    return read_predictions(out / "p.npz")


def test_training_predicts_the_labelled_videos(data, trained, tmp_path):
    found = scores(data, trained[1], tmp_path, "training")
    assert found.paths.tolist() == ["2.avi"]
    assert found.views == "2x1-16-logits+training"


def test_the_networks_of_a_run_are_told_apart(data, trained, tmp_path):
    own, tg = (scores(data, trained[1], tmp_path, condition).scores for condition in ("", "tg"))
    assert not np.allclose(own, tg)
    # LTG evaluates RGB: with the weights swapped, the RGB network gives other scores, and so does the TG one
    method, _ = trained
    swapped = method_class("ltg")(method.config, len(CLASSES)).eval()
    swapped.load_state_dict(method.state_dict())
    swapped.teacher.load_state_dict(method.predictor.state_dict())
    save_model(tmp_path / "swapped.pt", method.config, CLASSES, swapped, swapped.predictor)
    assert np.allclose(scores(data, tmp_path / "swapped.pt", tmp_path, "").scores, own, atol=1e-5)
    assert not np.allclose(scores(data, tmp_path / "swapped.pt", tmp_path, "tg").scores, tg)


def test_a_resampled_clip_holds_its_frames(data, trained, tmp_path, monkeypatch):
    decoded = []
    reader = type(open_video(data / "0.avi"))
    frames = reader.frames
    monkeypatch.setattr(reader, "frames", lambda self, indices: decoded.append(list(indices)) or frames(self, indices))
    scores(data, trained[1], tmp_path, "every2")
    whole = uniform_indices(40, 4, 3, 2).tolist()
    held = [[clip[i // 2 * 2] for i in range(4)] for clip in whole]
    assert sorted(set(decoded[0])) == sorted({i for clip in held for i in clip})


@pytest.mark.parametrize(
    ("condition", "message"), [("tg+grayscale", "corrupts colours"), ("tg", "has no network that sees tg")]
)
def test_a_condition_without_a_meaning_is_refused(data, trained, tmp_path, condition, message):
    path = trained[1]
    if condition == "tg":
        path = tmp_path / "fixmatch.pt"
        method = method_class("fixmatch")(run_config("fixmatch"), len(CLASSES))
        save_model(path, method.config, CLASSES, method, method.predictor)
    with pytest.raises(UserError, match=message):
        scores(data, path, tmp_path, condition)
