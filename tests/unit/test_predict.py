"""Prediction of test videos: the views, their mean, and every video once on any number of devices."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from tests.videos import moving_frames, write_video

from ssar.augment import Augmenter
from ssar.augment.views import crops, scales
from ssar.config import TemporalGradient, canonical, run_model
from ssar.data.reader import open_video
from ssar.data.sampling import uniform_indices
from ssar.data.temporal_gradient import temporal_gradient
from ssar.engine.weights import load_predictor, save_model
from ssar.errors import UserError
from ssar.evaluation.predict import predict, predict_views
from ssar.evaluation.predictions import read_predictions
from ssar.files import sha256
from ssar.methods import method_class
from ssar.runtime import Runtime
from ssar.views import Views

CLASSES = ["a", "b"]
RUNTIME = Runtime(accelerator="cpu", workers=0, threads=1)


def config(modality="rgb", **changes):
    values = {
        "method": "supervised",
        "version": 1,
        "dataset": "toy",
        "data": {"tg_source": "online"},
        "labels": {"protocol": "all"},
        "clip": {"frames": 4, "stride": 3},
        "augment": {"weak": {"short_side": 28, "size": 24}},
        "model": {"depth": 10, "width": 0.125, "dropout": 0.5},
        "optim": {"lr": 0.1},
        "train": {"steps": 1},
        "precision": "bf16-mixed",
        "options": {"modality": modality},
        **changes,
    }
    return run_model("supervised").model_validate(values)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A root with five test videos, short ones among them, a training video, and their split."""
    root = tmp_path_factory.mktemp("videos")
    lines = []
    for number, count in enumerate((9, 30, 17, 40, 12, 20)):
        path = f"{number}.avi"
        write_video(root / path, moving_frames(count, seed=number))
        flags = {"labelled": int(number == 5), "unlabelled": int(number == 5), "test": int(number < 5)}
        label = number % 2
        lines.append({"path": path, "label": label, "class": CLASSES[label], "group": "", "frames": count} | flags)
    pd.DataFrame(lines).to_csv(root / "split.csv", index=False)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Gives the file of a network with random weights for a modality and changes of the settings."""
    folder = tmp_path_factory.mktemp("models")

    def write(modality, **changes):
        settings = config(modality, **changes)
        path = folder / f"{modality}-{'-'.join(changes)}.pt"
        if path.exists():
            return path
        torch.manual_seed(0)
        method = method_class("supervised")(settings, len(CLASSES))
        method.predictor.fc.weight.data.normal_().mul_(0.5)  # scores that differ between classes
        save_model(path, settings, CLASSES, method, method.predictor)
        return path

    return write


def run(data, model_path, out, views="3x3@16", average="logits", runtime=RUNTIME):
    predict(model_path, data / "split.csv", data, None, Views.parse(views, average), out / "p.npz", runtime)
    return read_predictions(out / "p.npz")


def literal(path, modality, count, views, size, short_side, short="loop"):
    """All views of one video, cut one by one: normalised (V, 3, T, S, S)."""
    settings = config(modality)
    augmenter = Augmenter(settings.augment)
    lookahead = 1 if modality == "tg" else 0
    result = []
    for indices in uniform_indices(count, 4, 3, views.clips, lookahead, short=short):
        reader = open_video(path)
        frames = reader.frames(indices.tolist())
        if modality == "tg":
            frames = temporal_gradient(frames, reader.frames((indices + 1).tolist()), TemporalGradient().sign)
        if views.kind == "crops":
            cut = crops(frames, size, views.crops, short_side)
        else:
            cut = scales(frames, size, views.scales)
        result += [augmenter.normalise(crop[None])[0] for crop in cut]
    return torch.stack(result)


@pytest.mark.parametrize("average", ["logits", "probs"])
@pytest.mark.parametrize("modality", ["rgb", "tg"])
def test_scores_are_the_mean_over_every_view(data, model, tmp_path, average, modality):
    views = Views(3, 3, 16, average)
    found = run(data, model(modality), tmp_path, views.text, average)
    _, _, network = load_predictor(model(modality))
    assert found.paths.tolist() == [f"{number}.avi" for number in range(5)]
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    for number, count in enumerate((9, 30, 17, 40, 12)):
        clips = literal(data / f"{number}.avi", modality, count, views, 16, 16)
        assert len(clips) == 9
        with torch.no_grad():
            logits = torch.stack([network(clip[None])[0] for clip in clips])
            features = torch.stack([network.features(clip[None])[0] for clip in clips])
        expected = (logits if average == "logits" else logits.softmax(1)).mean(0)
        assert np.allclose(found.scores[number], expected, atol=1e-4, rtol=1e-4)
        assert np.allclose(found.features[number], features.mean(0), atol=2e-3, rtol=2e-3)
    assert len(np.unique(found.scores)) == found.scores.size


def test_crops_without_a_size_are_those_of_the_training(data, model, tmp_path):
    found = run(data, model("rgb"), tmp_path, "2x1")
    _, _, network = load_predictor(model("rgb"))
    clips = literal(data / "3.avi", "rgb", 40, Views(2, 1, None, "logits"), 24, 28)
    with torch.no_grad():
        assert np.allclose(found.scores[3], network(clips).mean(0), atol=1e-4)
    assert found.views == "2x1-logits"


@pytest.mark.parametrize(("text", "size", "count"), [("2x3s@16", 16, 6), ("2x1s", 24, 2)])
def test_scales_stand_in_the_place_of_crops(data, model, tmp_path, text, size, count):
    found = run(data, model("rgb"), tmp_path, text, "probs")
    _, _, network = load_predictor(model("rgb"))
    clips = literal(data / "3.avi", "rgb", 40, Views.parse(text, "probs"), size, None)
    assert len(clips) == count
    with torch.no_grad():
        assert np.allclose(found.scores[3], network(clips).softmax(1).mean(0), atol=1e-4)
    assert found.views == Views.parse(text, "probs").slug


def test_short_videos_are_held_where_the_run_holds_them(data, model, tmp_path):
    path = model("rgb", clip={"frames": 4, "stride": 3, "short_videos": "hold"})
    found, looped = run(data, path, tmp_path, "1x1@16"), run(data, model("rgb"), tmp_path, "1x1@16")
    _, _, network = load_predictor(path)
    clips = literal(data / "0.avi", "rgb", 9, Views(1, 1, 16, "logits"), 16, 16, "hold")
    with torch.no_grad():
        assert np.allclose(found.scores[0], network(clips).mean(0), atol=1e-4)
    assert not np.allclose(found.scores[0], looped.scores[0], atol=1e-4)  # 9 frames do not fill a clip
    assert np.allclose(found.scores[3], looped.scores[3])


def test_nothing_but_features_and_a_head_is_asked_of_the_network():
    class Tokens(torch.nn.Module):
        def features(self, x):
            return x.flatten(2).mean(2)

        def head(self, features):
            return 2 * features

    clips = torch.randn(40, 3, 2, 4, 4)
    scores, features = predict_views(Tokens(), clips, "probs")
    assert torch.allclose(features, clips.mean((0, 2, 3, 4)), atol=1e-6)
    assert torch.allclose(scores, (2 * clips.mean((2, 3, 4))).softmax(1).mean(0), atol=1e-6)


def test_the_file_says_what_it_is_of(data, model, tmp_path):
    found = run(data, model("rgb"), tmp_path)
    assert found.classes == CLASSES
    assert found.config == canonical(config())
    assert found.model_sha256 == sha256(model("rgb"))
    assert found.views == "3x3-16-logits"


def test_worker_processes_change_nothing(data, model, tmp_path):
    alone = run(data, model("rgb"), tmp_path)
    shared = run(data, model("rgb"), tmp_path, runtime=RUNTIME.model_copy(update={"workers": 2}))
    assert (alone.scores == shared.scores).all()
    assert (alone.paths == shared.paths).all()


SCRIPT = """
import sys
from pathlib import Path
from ssar.evaluation.predict import predict
from ssar.runtime import Runtime
from ssar.views import Views

if __name__ == "__main__":
    model, data, out = map(Path, sys.argv[1:4])
    devices = sys.argv[4]
    runtime = Runtime(accelerator="cpu", devices=int(devices), workers=0, threads=1)
    predict(model, data / "split.csv", data, None, Views.parse("1x1@16", "logits"), out, runtime)
"""


@pytest.mark.parametrize("devices", [2, 3])
def test_several_devices_predict_what_one_does_each_video_once(data, model, tmp_path, root, devices):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", model("rgb"), data, tmp_path / "two.npz", str(devices)]
    environment = {**os.environ, "PYTHONPATH": str(root / "workflow")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    two = read_predictions(tmp_path / "two.npz")
    one = run(data, model("rgb"), tmp_path, "1x1@16")
    assert (two.paths == one.paths).all()
    # videos pass the network one by one, so that not even rounding differs
    assert np.array_equal(two.scores, one.scores)
    assert np.array_equal(two.features, one.features)


def edited(data, tmp_path, edit):
    table = pd.read_csv(data / "split.csv", keep_default_na=False)
    edit(table).to_csv(tmp_path / "split.csv", index=False)
    return tmp_path / "split.csv"


@pytest.mark.parametrize(
    ("modality", "edit", "message"),
    [
        ("rgb", lambda t: t.assign(test=0), "has no videos to predict"),
        ("rgb", lambda t: t.assign(**{"class": t["class"].replace("b", "c")}), "the 2 classes of"),
        (
            "tg",
            lambda t: t.assign(frames=t["frames"].replace({9: 1, 12: 1})),
            r"0\.avi: 1 frames\n  - 4\.avi: 1 frames",
        ),
        ("rgb", lambda t: t.assign(path=t["path"].replace("2.avi", "broken.avi")), r"broken\.avi"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_predicted_is_named(data, model, tmp_path, modality, edit, message, workers):
    (data / "broken.avi").write_bytes(b"RIFF nothing that decodes")
    split = edited(data, tmp_path, edit)
    runtime = RUNTIME.model_copy(update={"workers": workers})
    with pytest.raises(UserError, match=message):
        predict(model(modality), split, data, None, Views.parse("1x1@16", "logits"), tmp_path / "p.npz", runtime)
    assert not (tmp_path / "p.npz").exists()
