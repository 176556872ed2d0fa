"""Training from video files: what it leaves behind, and that a killed run ends with the very same weights."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.videos import make_folder

from ssar.config import canonical, parse_run
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.train import train
from ssar.engine.weights import load_predictor
from ssar.errors import UserError
from ssar.runtime import Runtime

STEPS = 16
CONFIG: dict[str, Any] = {
    "method": "ltg",
    "version": 1,
    "dataset": "tiny",
    "data": {"tg_source": "online"},
    "labels": {"protocol": "per-class-2"},
    "seed": 3,
    "clip": {"frames": 4, "stride": 2},
    "augment": {"weak": {"short_side": 20, "size": 16}},
    "model": {"depth": 10, "width": 0.125, "dropout": 0.5, "stem_pool": False},
    "optim": {"lr": 0.05, "weight_decay": 1e-4, "clip_norm": 40.0, "warmup_epochs": 1.0},
    "train": {"steps": STEPS, "labelled": 2, "unlabelled": 3, "precise_bn": 2, "ema": 0.9},
    "options": {"threshold": 0.3, "w_fm": 0.5, "w_kd": 1.0, "w_clr": 1.0, "projection": [8, 8, 8]},
}
# banks, prototypes, a moving average, clips of other strides, and a record of the pseudo-labels
REMEMBERING: dict[str, Any] = {
    "method": "acl_mtl",
    "train": CONFIG["train"] | {"ema": 0.0, "record_epochs": 2},
    "options": {
        "threshold": 0.1,
        "ema_decay": 0.9,
        "reliability_weight": "weight",
        "contrast": "acl",
        "temperature": 0.07,
        "epsilon": 0.5,
        "beta": 0.9,
        "bank_size": 12,
        "least_candidates": 2,
        "unfitted": 0.5,
        "iterations": 5,
        "projection": [8, 8],
        "long_factors": [2],
        "student_temperature": 0.1,
        "teacher_temperature": 0.04,
        "centre_decay": 0.9,
        "temporal_projection": [8, 8, 8],
    },
}
# checkpoints after every step, on one thread and decoding in the training process
RUNTIME = Runtime(accelerator="cpu", workers=0, threads=1, checkpoint_minutes=0, log_every=7)

SCRIPT = """
import sys
from ssar.config import parse_run
from ssar.engine.train import train
from ssar.runtime import Runtime

if __name__ == "__main__":
    config, runtime, split, root, out, state = sys.argv[1:]
    train(parse_run(config), split, root, None, out, state, Runtime.model_validate_json(runtime))
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `videos/` of two classes and `split.csv`."""
    folder = tmp_path_factory.mktemp("tiny")
    paths = make_folder(folder / "videos", classes=2, per_class=4, frames=14, size=(24, 32))
    with open(folder / "split.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "class", "group", "frames", "labelled", "unlabelled", "test"])
        for number, path in enumerate(paths):
            name, place = path.split("/")[0], number % 4
            flags = [int(place < 2), int(place < 3), int(place == 3)]
            writer.writerow([path, int(name[-1]), name, "", 14, *flags])
    return folder


def run_here(videos: Path, folder: Path, **changes: Any) -> Path:
    """Train in this process; returns the output folder."""
    config = parse_run(json.dumps(CONFIG | changes))
    train(config, videos / "split.csv", videos / "videos", None, folder / "out", folder / "state", RUNTIME)
    return folder / "out"


@pytest.fixture(scope="module")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing disturbed."""
    return run_here(videos, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def started(videos: Path, tmp_path: Path, root: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a run in a process of its own, with `tmp_path` for its output and state."""

    def start(config: dict[str, Any], runtime: Runtime) -> subprocess.Popen[bytes]:
        script = tmp_path / "run.py"
        script.write_text(SCRIPT)
        places = [videos / "split.csv", videos / "videos", tmp_path / "out", tmp_path / "state"]
        words = [json.dumps(config), runtime.model_dump_json(), *map(str, places)]
        environment = os.environ | {"PYTHONPATH": str(root / "workflow")}
        return subprocess.Popen([sys.executable, script, *words], env=environment)

    return start


def weights(out: Path) -> dict[str, torch.Tensor]:
    content = torch.load(out / "model.pt", weights_only=True)
    return {f"{part}.{name}": value for part in ("predictor", "method") for name, value in content[part].items()}


def recorded(out: Path) -> list[Any]:
    """Everything in the record of pseudo-labels, if there is one."""
    path = out / "pseudo_labels.npz"
    if not path.exists():
        return []
    with np.load(path) as content:
        return [(name, content[name].tolist()) for name in sorted(content.files)]


def curves(out: Path) -> list[dict[str, str]]:
    with open(out / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("clips_per_second", "data_wait_share")} for row in rows]


def test_what_a_run_leaves_behind(finished: Path) -> None:
    config, classes, predictor = load_predictor(finished / "model.pt")
    assert canonical(config) == canonical(parse_run(json.dumps(CONFIG)))
    assert classes == ["class0", "class1"]
    assert not predictor.training
    assert predictor(torch.zeros(1, 3, 4, 16, 16)).shape == (1, 2)

    lines = curves(finished)
    assert [line["step"] for line in lines] == ["7", "14", "16"]
    terms = {"labelled_rgb", "labelled_tg", "unlabelled_rgb", "unlabelled_tg", "alignment", "contrast"}
    assert {"epoch", "lr", "loss", "gradient_norm", "pseudo_rate", "pseudo_accuracy"} | terms <= set(lines[0])

    facts = json.loads((finished / "run.json").read_text())
    assert facts["config"]["optim"]["lr"] == 0.05
    assert facts["steps"] == STEPS
    assert facts["attempts"] == 1
    assert facts["reader"] in ("decord", "pyav")
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]
    assert facts["seconds"] > 0
    assert facts["gpu_hours"] == 0
    assert facts["peak_memory_bytes"]["host"] > 1e7
    assert len(facts["split"]["sha256"]) == 64
    state = finished.parent / "state"
    assert sorted(path.name for path in state.iterdir()) == ["attempt.json", "finished", "lock", "tensorboard"]


@pytest.mark.parametrize(
    ("number", "status", "changes"),
    [(signal.SIGKILL, -9, {}), (signal.SIGTERM, 143, {}), (signal.SIGKILL, -9, REMEMBERING)],
    ids=["ltg killed", "ltg asked", "acl_mtl killed"],
)
def test_a_stopped_run_continues_to_the_very_same_weights(
    number: signal.Signals,
    status: int,
    changes: dict[str, Any],
    started: Callable[..., subprocess.Popen[bytes]],
    finished: Path,
    videos: Path,
    tmp_path: Path,
) -> None:
    undisturbed = run_here(videos, tmp_path / "undisturbed", **changes) if changes else finished
    for _ in range(5):
        process = started(CONFIG | changes, RUNTIME)
        while len(list((tmp_path / "state").glob("checkpoint-*.ckpt"))) < 2 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.2))
        process.send_signal(number)
        if process.wait(300) != 0:
            break
        for name in ("out", "state"):  # it was faster: once more from the beginning
            shutil.rmtree(tmp_path / name)
    assert process.returncode == status
    assert not (tmp_path / "out").exists()
    out = run_here(videos, tmp_path, **changes)
    expected, got = weights(undisturbed), weights(out)
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    assert curves(out) == curves(undisturbed)
    assert recorded(out) == recorded(undisturbed)
    assert bool(recorded(out)) == bool(changes)
    assert json.loads((out / "run.json").read_text())["attempts"] == 2


def test_two_processes_do_what_one_does_in_two_rounds(
    started: Callable[..., subprocess.Popen[bytes]], videos: Path, tmp_path: Path
) -> None:
    """The same micro-batches reach the same optimiser step. Without dropout, whose draws differ by process, and
    without the contrast, whose pairs span processes."""
    changes: dict[str, Any] = {
        "model": CONFIG["model"] | {"dropout": 0.0},
        "train": {"steps": 3, "labelled": 2, "unlabelled": 3, "global_labelled": 4},
        "options": CONFIG["options"] | {"w_clr": 0.0},
    }
    process = started(CONFIG | changes, RUNTIME.model_copy(update={"devices": 2}))
    one = weights(run_here(videos, tmp_path / "one", **changes))
    assert process.wait(120) == 0
    two = weights(tmp_path / "out")
    for name in one:
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):  # of one process, of one round
            assert torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6), name


def test_the_state_of_another_run_is_refused(videos: Path, tmp_path: Path) -> None:
    Checkpoints(tmp_path / "state", "another").save({"step": 1})
    with pytest.raises(UserError, match="other settings"):
        run_here(videos, tmp_path)


def test_load_predictor_tells_a_missing_and_a_foreign_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model"):
        load_predictor(tmp_path / "model.pt")
    torch.save({"something": 1}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="is no model of ssar"):
        load_predictor(tmp_path / "model.pt")
