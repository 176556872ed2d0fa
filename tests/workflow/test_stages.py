"""Runs that need runs, and unlabelled videos of another dataset: really trained, on tiny configurations."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import SETTING, TINY, Workspace

SSL = {"clip": {"frames": 4, "stride": 1}, "train": {"labelled": 1, "unlabelled": 2}, "model.temporal_strides": [1] * 4}
STAGES = "out/ablations/benchmark/timebalance.json"


def benchmark(**changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(TINY)
    config |= {"papers": ["benchmark"], "paper": "benchmark", "targets": []}
    config["overrides"] = {
        "all": config["overrides"]["all"] | {"augment.unlabelled": None},
        "timebalance_ssl": SSL | {"options": {"clips": 2, "projection": [8, 4]}},
    }
    return config | changes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which all stages of TimeBalance have been trained."""
    space = Workspace(tmp_path_factory.mktemp("stages"))
    space.configure(benchmark())
    space.run(STAGES)
    return space


def test_every_stage_is_trained_once_and_feeds_the_next(trained: Workspace):
    runs = {path.parent.name.split(".")[2]: path.parent for path in trained.folder.glob("out/runs/*/model.pt")}
    assert set(runs) == {"timebalance_ssl", "finetune", "timebalance"}
    assert len(list(trained.folder.glob("out/runs/*/model.pt"))) == 3 + 2 + 1
    assert len(list(trained.folder.glob("out/scores/*/similarity.npz"))) == 1
    student = json.loads((runs["timebalance"] / "run.json").read_text())
    for role in ("invariant", "distinctive", "init"):
        assert (trained.folder / "out/runs" / student["config"]["upstream"][role] / "model.pt").exists()
    assert any("init" in remark for remark in student["weights"])
    assert "Nothing to be done" in trained.run(STAGES)


def test_an_edited_teacher_retrains_itself_and_its_student(trained: Workspace):
    try:
        config = benchmark()
        config["overrides"]["teacher-invariant"] = {"optim.lr": 0.02}
        trained.configure(config)
        planned = {"finetune_teacher": 1, "train_student": 1, "predict": 1, "metrics": 1, "ablation": 1}
        assert trained.planned(STAGES) == planned
    finally:
        trained.configure(benchmark())


def test_labels_of_one_dataset_and_unlabelled_videos_of_another(tmp_path: Path):
    from ssar.evaluation.pseudo_labels import read_record

    config = benchmark()
    other = copy.deepcopy(config["datasets"]["synthact"])
    other["synthact"] |= {"seed": 5, "train_per_class": 3}
    config["datasets"]["other"] = {"kind": "synthact", "tg_source": "online", **other}
    config["datasets"]["synthact"]["tg_source"] = "online"
    config["settings"] = {SETTING: {"dataset": "synthact", "labels": "all", "unlabelled": "other"}}
    config["overrides"]["all"] = config["overrides"]["all"] | {
        "train": TINY["overrides"]["all"]["train"] | {"record_epochs": 1}
    }
    space = Workspace(tmp_path)
    space.configure(config)
    space.run("out/ablations/benchmark/fixmatch.json")
    assert (space.folder / "out/splits/other/all.d0.csv").exists()
    (recorded,) = space.folder.glob("out/runs/*/pseudo_labels.npz")
    assert len(read_record(recorded).paths) == 6
