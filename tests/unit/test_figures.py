"""Figures of tiny inputs: both formats, readable sizes, and the numbers in them."""

from __future__ import annotations

import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from tests.videos import moving_frames, write_video

from ssar.config import run_model
from ssar.data.temporal_gradient import temporal_gradient
from ssar.engine.weights import save_model
from ssar.errors import UserError
from ssar.evaluation.predictions import Predictions, write_predictions
from ssar.methods import method_class
from ssar.reporting.figures import tg
from ssar.reporting.figures.gradcam import attention, overlay
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.render import render
from ssar.reporting.figures.spec import figure_model
from ssar.reporting.figures.style import POINTS, paper_style
from ssar.reporting.figures.tsne import looks, neighbour_accuracy, separation
from ssar.reporting.sources import Source

CLASSES = ["jump", "run", "throw"]


def spec(kind, **options):
    base = {"kind": kind, "caption": "A figure.", "source": "Nobody", "setting": "toy.all"}
    return figure_model(base).model_validate(base | {"variants": ["base", "ours"]} | options)


def source(variant, role):
    return Source(variant, "toy.all", role)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A root with six test videos and one training video, and their split."""
    root = tmp_path_factory.mktemp("videos")
    lines = []
    for number in range(7):
        name, count = CLASSES[number % 3], 14 + number
        path = f"{name}/{number}.avi"
        write_video(root / path, moving_frames(count, seed=number))
        lines.append(
            {
                "path": path,
                "label": number % 3,
                "class": name,
                "group": "",
                "frames": count,
                "labelled": 0,
                "unlabelled": 0,
                "test": int(number < 6),
            }
        )
    pd.DataFrame(lines).to_csv(root / "split.csv", index=False)
    return root


def run_config(modality="rgb"):
    return run_model("fixmatch").model_validate(
        {
            "method": "fixmatch",
            "version": 1,
            "dataset": "toy",
            "data": {},
            "labels": {"protocol": "all"},
            "clip": {"frames": 4, "stride": 2},
            "augment": {"weak": {"short_side": 36, "size": 32}},
            "model": {"depth": 10, "width": 0.125},
            "optim": {"lr": 0.1},
            "train": {"steps": 1},
            "options": {"threshold": 0.3, "modality": modality},
        }
    )


@pytest.fixture
def figure(videos, tmp_path):
    """What the grid passes for a figure, with networks of random weights and predictions."""
    rng = np.random.default_rng(0)
    table = pd.read_csv(videos / "split.csv")
    config = run_config()
    files = {}
    for number, variant in enumerate(("base", "ours")):
        torch.manual_seed(number)
        method = method_class("fixmatch")(config, len(CLASSES))
        files[source(variant, "model").key] = [str(tmp_path / f"{variant}.pt")]
        save_model(tmp_path / f"{variant}.pt", config, CLASSES, method, method.predictor)
        labels = np.repeat(np.arange(3), 10)
        features = rng.normal(size=(30, 8)) + number * 4 * np.eye(8)[labels]
        files[source(variant, "predictions").key] = [str(tmp_path / f"{variant}.npz")]
        paths = np.array([f"{i}.avi" for i in range(30)])
        write_predictions(
            tmp_path / f"{variant}.npz",
            Predictions(
                paths,
                labels,
                np.zeros((30, 3), np.float32),
                features.astype(np.float16),
                CLASSES,
                "1x1-logits",
                "{}",
                "",
            ),
        )
    assert len(table) == 7
    return {"files": files, "split": str(videos / "split.csv"), "note": "A toy."}


@pytest.mark.parametrize("kind", ["tg", "gradcam", "tsne"])
def test_a_figure_is_a_pdf_and_a_png_of_print_size(kind, figure, videos, tmp_path):
    options = {"tg": {"intervals": [1, 5], "videos": 2}, "gradcam": {"moments": 3, "videos": 2}, "tsne": {}}[kind]
    declared = spec(kind, **options, labels=["Base", "Ours"]).model_dump(mode="json")
    render(json.loads(json.dumps(figure | {"spec": declared})), videos, tmp_path / "f" / kind)
    assert (tmp_path / "f" / f"{kind}.pdf").read_bytes().startswith(b"%PDF")
    picture = matplotlib.image.imread(tmp_path / "f" / f"{kind}.png")
    assert picture.shape[1] == 300 * (7.0 if kind == "tsne" else 3.5)
    assert picture[..., :3].std() > 0.05  # something is drawn
    assert (picture[:3, :, :3] == 1).mean() > 0.9  # and nothing runs out at the top


def test_the_same_inputs_give_the_same_files(figure, videos, tmp_path):
    declared = spec("tsne").model_dump(mode="json")
    for name in ("one", "two"):
        render(figure | {"spec": declared}, videos, tmp_path / name)
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def inputs(videos, figure_spec, **changes):
    return FigureInputs(
        **{"spec": figure_spec, "video_root": videos, "split": videos / "split.csv", "files": {}} | changes
    )


def test_no_text_is_below_seven_points(videos):
    with paper_style():
        drawn = tg.draw(inputs(videos, spec("tg", videos=2)))
        texts = [text for text in drawn.findobj(lambda part: hasattr(part, "get_fontsize")) if text.get_text()]
        assert {text.get_text() for text in texts} >= {"RGB", "Fast TG (n = 1)", "Slow TG (n = 7)"}
        assert min(text.get_fontsize() for text in texts) >= POINTS


def test_gradients_are_those_of_the_frames_in_the_file(videos):
    chosen = inputs(videos, spec("tg", videos=1))
    video = chosen.test_videos(8)[0]
    frame, fast, slow = tg.pictures(chosen, video)
    from ssar.data.reader import open_video

    middle = (video.frames - 8) // 2
    decoded = open_video(videos / video.path).frames([middle, middle + 1, middle + 7])
    assert (frame == decoded[0]).all()
    assert (fast == temporal_gradient(decoded[0], decoded[1])).all()
    assert (slow == temporal_gradient(decoded[0], decoded[2])).all()


def test_videos_are_test_videos_of_different_classes(videos):
    for seed in range(5):
        shown = inputs(videos, spec("tg", videos=3, seed=seed)).test_videos(1)
        assert {video.name for video in shown} == set(CLASSES)
        assert "jump/6.avi" not in {video.path for video in shown}
    assert len(inputs(videos, spec("tg", videos=50)).test_videos(1)) == 6
    with pytest.raises(UserError, match="no test video of 100 frames"):
        inputs(videos, spec("tg")).test_videos(100)


def test_attention_is_where_the_evidence_is():
    class Corner(torch.nn.Module):
        """Sees nothing but the mean brightness; one activation per pixel."""

        def __init__(self):
            super().__init__()
            self.maps = torch.nn.Conv3d(3, 1, 1, bias=False)
            torch.nn.init.ones_(self.maps.weight)

        def forward(self, x):
            score = self.maps(x).mean(dim=(1, 2, 3, 4))
            return torch.stack([score, -score], dim=1)

    clips = torch.zeros(2, 3, 4, 8, 8)
    clips[:, :, :, :4, :4] = 1.0
    clips[1] *= 0.5
    heat = attention(Corner(), "maps", clips, label=0)
    assert heat.shape == (2, 4, 8, 8)
    assert heat[0, :, :4, :4].min() == 1
    assert torch.allclose(heat[1, :, :4, :4], torch.tensor(0.5))  # one scale for all moments
    assert heat[:, :, 4:].max() == 0
    assert attention(Corner(), "maps", clips, label=1).max() == 0  # nothing speaks for that class
    with pytest.raises(UserError, match="no module `layer9`; its parts: maps"):
        attention(Corner(), "layer9", clips, label=0)


def test_without_heat_an_overlay_is_the_grey_frame():
    frame = np.full((2, 2, 3), (30, 60, 90), np.uint8)
    assert np.allclose(overlay(frame, np.zeros((2, 2))), 60 / 255)


def test_gradcam_refuses_a_network_that_sees_gradients(figure, videos, tmp_path):
    config = run_config("tg")
    method = method_class("fixmatch")(config, len(CLASSES))
    save_model(tmp_path / "tg.pt", config, CLASSES, method, method.predictor)
    figure["files"][source("ours", "model").key] = [str(tmp_path / "tg.pt")]
    with pytest.raises(UserError, match="sees temporal gradients"):
        render(figure | {"spec": spec("gradcam").model_dump(mode="json")}, videos, tmp_path / "g")


def test_neighbour_accuracy_leaves_the_point_itself_out():
    features = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.05]], dtype=float)
    assert neighbour_accuracy(features, np.array([0, 0, 1, 1, 1]), 1) == 40
    assert neighbour_accuracy(features, np.array([0, 0, 1, 1, 0]), 1) == 100
    assert separation(features, np.array([0, 0, 1, 1, 0]), 1).startswith("1-NN accuracy 100.0 %, silhouette 1.00")
    assert "silhouette" not in separation(features, np.zeros(5, int), 9)


def test_classes_of_one_colour_differ_in_shape():
    assert len(set(looks(50))) == 50


def test_predictions_of_other_videos_are_refused(figure, videos, tmp_path):
    write_predictions(
        tmp_path / "ours.npz",
        Predictions(
            np.array(["x"]), np.zeros(1, int), np.zeros((1, 3)), np.zeros((1, 8)), CLASSES, "1x1-logits", "", ""
        ),
    )
    with pytest.raises(UserError, match="other test videos"):
        render(figure | {"spec": spec("tsne").model_dump(mode="json")}, videos, tmp_path / "f")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("tg", {"perplexity": 3.0}, r"perplexity\n  Extra inputs are not permitted"),
        ("tsne", {"videos": 1}, r"videos\n  Extra inputs are not permitted"),
        ("tsne", {"labels": ["one"]}, "1 labels for 2 variants"),
    ],
)
def test_options_of_another_kind_are_refused(kind, options, message):
    with pytest.raises(ValidationError, match=message):
        spec(kind, **options)


def test_an_unknown_kind_is_told():
    with pytest.raises(ValidationError, match="no kind of figure `piechart`; known: tg, gradcam"):
        spec("piechart")
