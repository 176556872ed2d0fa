"""The described network is the one that Table 4 prints."""

from __future__ import annotations

import json

import pytest
import torch

from ssar.config import canonical, run_model
from ssar.experiments import load_paper
from ssar.models.describe import architecture, output_size, write_architecture
from ssar.models.resnet3d import build


def config(**model):
    values = {
        "method": "supervised",
        "version": 1,
        "dataset": "toy",
        "data": {},
        "labels": {"protocol": "all"},
        "model": model,
        "optim": {"lr": 0.1},
        "train": {"steps": 1},
        "options": {},
    }
    return run_model("supervised").model_validate(values)


def test_the_default_backbone_is_that_of_ltg_table_4(tmp_path):
    write_architecture(canonical(config()), tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    rows = load_paper("ltg").tables["table4"].rows
    assert [row.key for row in rows] == ["conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    for row in rows:
        assert (found[row.key]["output"], found[row.key]["kernels"]) == row.published
    assert found["parameters"] == sum(
        value.numel() for name, value in build(config().model, 2).named_parameters() if not name.startswith("fc.")
    )


def test_what_a_variant_changes_shows():
    released = architecture(config(pool2=True))
    assert released["conv2_x"]["output"] == "L/2 × 56 × 56"
    assert released["conv4_x"]["output"] == "L/8 × 14 × 14"
    assert released["conv5_x"]["output"] == "L/8 × 7 × 7"  # one frame is left and cannot be halved
    small = architecture(config(depth=10, width=0.25))
    assert small["conv3_x"]["kernels"] == "[3×3×3, 32; 3×3×3, 32] × 1"  # its projection shortcut is not listed
    deep = architecture(config(depth=50))
    assert deep["conv2_x"]["kernels"] == "[3×1×1, 64; 1×3×3, 64; 1×1×1, 256] × 3"


@pytest.mark.parametrize(
    ("time", "frames", "text"), [(8, 8, "L × 2 × 3"), (4, 8, "L/2 × 2 × 3"), (3, 8, "3 × 2 × 3"), (1, 1, "L × 2 × 3")]
)
def test_time_is_counted_in_frames_of_the_clip(time, frames, text):
    assert output_size(torch.empty(1, 5, time, 2, 3), frames) == text
