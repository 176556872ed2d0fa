"""Similarity scores of training videos, against every clip decoded and compared one by one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_losses_distillation import matrix_loop
from tests.videos import moving_frames, write_video
from tiny_methods import CLASSES, tiny_method, tiny_run

from ssar.augment import Augmenter
from ssar.augment.views import centre
from ssar.config import RunConfig, canonical
from ssar.data.reader import open_video
from ssar.engine.weights import save_model
from ssar.errors import UserError
from ssar.evaluation.scores import read_similarity
from ssar.evaluation.similarity import consecutive_indices, load_pretrained, write_similarity
from ssar.runtime import Runtime

RUNTIME = Runtime(accelerator="cpu", workers=0, threads=1)
CLIPS, FRAMES = 3, 4
LENGTHS = {"a.avi": 20, "b.avi": 9, "c.avi": 3, "d.avi": 12, "test.avi": 20}
"""Videos with room for all clips, for overlapping ones, for not even one, and for just all."""


def config(**changes: object) -> RunConfig:
    values = {
        "clip__frames": FRAMES,
        "clip__stride": 1,
        "clip__short_videos": "loop",
        "augment__weak__short_side": 20,
        "augment__weak__size": 16,
        "options__clips": CLIPS,
        "options__projection": [8, 8],
    }
    return tiny_run("timebalance_ssl", **{**values, **changes})


def write_model(path: Path, run: RunConfig, seed: int) -> Path:
    method = tiny_method(run, seed)
    for module in method.modules():  # running statistics unlike those of a fresh network
        if isinstance(module, torch.nn.BatchNorm3d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
    save_model(path, run, [str(name) for name in range(CLASSES)], method, method.predictor)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the videos, their split, and two pretrained networks."""
    root = tmp_path_factory.mktemp("similarity")
    lines = []
    for number, (path, count) in enumerate(LENGTHS.items()):
        write_video(root / path, moving_frames(count, seed=number))
        kind = {"labelled": int(path in "a.avi b.avi"), "unlabelled": int(path in "b.avi c.avi d.avi")}
        lines.append({"path": path, "label": 0, "class": "x", "group": "", "frames": count, **kind})
    table = pd.DataFrame(lines)
    table["test"] = [int(path == "test.avi") for path in LENGTHS]
    table.to_csv(root / "split.csv", index=False)
    write_model(root / "invariant.pt", config(options__w_distinctive=0, options__w_unpooled=0), seed=1)
    write_model(root / "distinctive.pt", config(options__w_invariant=0), seed=2)
    return root


def models(data: Path) -> list[Path]:
    return [data / "invariant.pt", data / "distinctive.pt"]


def written(data: Path, out: Path, runtime: Runtime = RUNTIME) -> Path:
    write_similarity(models(data), data / "split.csv", data, out / "similarity.npz", runtime)
    return out / "similarity.npz"


def literal_indices(frames: int) -> list[list[int]]:
    """Where the clips of each video of this test lie."""
    return {
        20: [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]],  # 8 frames are left over, 4 of them in front
        12: [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        9: [[0, 1, 2, 3], [2, 3, 4, 5], [5, 6, 7, 8]],  # 2.5 frames apart
        3: [[0, 1, 2, 0]] * 3,
    }[frames]


@pytest.mark.parametrize("frames", [20, 12, 9, 3])
def test_clips_lie_side_by_side_in_the_middle(frames: int) -> None:
    assert consecutive_indices(frames, CLIPS, config()).tolist() == literal_indices(frames)


def test_a_clip_beyond_the_end_holds_where_the_run_does() -> None:
    assert consecutive_indices(3, 2, config(clip__short_videos="hold")).tolist() == [[0, 1, 2, 2]] * 2


@pytest.mark.parametrize("clips", [2, 4])
@pytest.mark.parametrize("stride", [1, 3])
def test_indices_stay_inside_any_video(clips: int, stride: int) -> None:
    run = config(clip__stride=stride)
    for frames in range(1, 60):
        found = consecutive_indices(frames, clips, run)
        assert found.shape == (clips, FRAMES)
        assert found.min() >= 0
        assert found.max() < frames
        if frames >= FRAMES * stride:
            steps = np.diff(found[:, 0])
            assert (np.diff(found, axis=1) == stride).all()
            assert (steps <= FRAMES * stride).all()
            # no end is favoured
            assert abs(int(found[0, 0]) - int(frames - FRAMES * stride - found[-1, 0])) <= 1


def test_matrices_and_scores_are_eq_5_and_6_of_every_training_video(data: Path, tmp_path: Path) -> None:
    found = read_similarity(written(data, tmp_path))
    assert sorted(found.paths.tolist()) == ["a.avi", "b.avi", "c.avi", "d.avi"]
    networks = [load_pretrained(path) for path in models(data)]
    augmenter = Augmenter(config().augment)
    for line, path in enumerate(found.paths.tolist()):
        clips = []
        for indices in literal_indices(LENGTHS[path]):
            frames = open_video(data / path).frames(indices)
            clips.append(augmenter.normalise(centre(frames, 16, 20)[None])[0])
        sums = {"projection": 0.0, "features": 0.0}
        for teacher, network in enumerate(networks):
            with torch.no_grad():
                features = torch.stack([network.backbone.features(clip[None])[0] for clip in clips])
                z = torch.cat([network.head(row[None]) for row in features])
            for name, x in (("projection", z), ("features", features)):
                expected = matrix_loop(x.tolist())
                assert np.allclose(getattr(found, name)[line, teacher], expected, atol=1e-5)
                sums[name] += sum(expected[i][j] for i in range(CLIPS) for j in range(CLIPS) if i != j)
        for name, total in sums.items():
            score = total / (2 * CLIPS * (CLIPS - 1))
            assert getattr(found, f"{name}_score")[line] == pytest.approx(score, abs=1e-5)
    assert not np.allclose(found.projection, found.features, atol=1e-3)
    assert found.projection_score[found.paths.tolist().index("c.avi")] == pytest.approx(1)  # all its clips are one


def test_the_file_says_what_it_is_of(data: Path, tmp_path: Path) -> None:
    found = read_similarity(written(data, tmp_path))
    assert found.configs == [
        canonical(config(options__w_distinctive=0, options__w_unpooled=0)),
        canonical(config(options__w_invariant=0)),
    ]
    assert found.projection.shape == found.features.shape == (4, 2, CLIPS, CLIPS)
    assert found.projection.dtype == np.float32


def test_the_order_of_the_teachers_changes_no_score(data: Path, tmp_path: Path) -> None:
    write_similarity(models(data)[::-1], data / "split.csv", data, tmp_path / "swapped.npz", RUNTIME)
    swapped, found = read_similarity(tmp_path / "swapped.npz"), read_similarity(written(data, tmp_path))
    assert np.allclose(swapped.projection_score, found.projection_score)
    assert np.allclose(swapped.projection[:, 0], found.projection[:, 1])


def test_models_that_do_not_serve_are_named(data: Path, tmp_path: Path) -> None:
    def measure(*paths: Path) -> None:
        write_similarity(paths, data / "split.csv", data, tmp_path / "s.npz", RUNTIME)

    good = data / "invariant.pt"
    with pytest.raises(UserError, match="two teachers"):
        measure(good)
    with pytest.raises(UserError, match="no such model"):
        measure(good, tmp_path / "absent.pt")
    (tmp_path / "foreign.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no model of ssar"):
        measure(good, tmp_path / "foreign.pt")
    tuned = tiny_run("finetune")
    method = tiny_method(tuned)
    save_model(tmp_path / "tuned.pt", tuned, [str(name) for name in range(CLASSES)], method, method.predictor)
    with pytest.raises(UserError, match="no projections to compare"):
        measure(good, tmp_path / "tuned.pt")
    write_model(tmp_path / "four.pt", config(options__clips=4), seed=0)
    with pytest.raises(UserError, match="differ in number, length, size or normalisation"):
        measure(good, tmp_path / "four.pt")
    assert not (tmp_path / "s.npz").exists()


def test_videos_that_do_not_serve_are_named(data: Path, tmp_path: Path) -> None:
    for path in LENGTHS:
        shutil.copy(data / path, tmp_path / path)
    (tmp_path / "b.avi").write_bytes(b"RIFF nothing that decodes")
    with pytest.raises(UserError, match=r"b\.avi"):
        write_similarity(models(data), data / "split.csv", tmp_path, tmp_path / "s.npz", RUNTIME)
    table = pd.read_csv(data / "split.csv", keep_default_na=False)
    table.assign(labelled=0, unlabelled=0).to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(UserError, match="0 training videos"):
        write_similarity(models(data), tmp_path / "split.csv", data, tmp_path / "s.npz", RUNTIME)


def test_damaged_files_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compute them first"):
        read_similarity(tmp_path / "absent.npz")
    whole = written(data, tmp_path).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"half\.npz is damaged"):
        read_similarity(tmp_path / "half.npz")
    np.savez(tmp_path / "other.npz", paths=np.array(["a"]))
    with pytest.raises(UserError, match=r"other\.npz is damaged"):
        read_similarity(tmp_path / "other.npz")
