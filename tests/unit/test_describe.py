"""The described network is the one that Table 4 prints."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from tests.unit.tiny_methods import METHODS_FOLDER, tiny_run

from ssar.config import canonical, run_model
from ssar.experiments import load_paper
from ssar.models.build import build
from ssar.models.describe import architecture, described, output_size, write_architecture

R50 = {"depth": 50, "stem_kernel": (5, 7, 7), "temporal_strides": (1, 1, 1, 1)}


def config(method="supervised", options=None, **model):
    values = {
        "method": method,
        "version": 1,
        "dataset": "toy",
        "data": {},
        "labels": {"protocol": "all"},
        "model": model,
        "optim": {"lr": 0.1},
        "train": {"steps": 1},
        "options": options or {},
    }
    return run_model(method).model_validate(values)


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


def test_cmpls_primary_network_is_that_of_its_table_a4():
    found = architecture(config(**R50))
    assert found["frames"] == 8
    assert found["conv1"] == {
        "output": "L × 56 × 56",
        "kernels": "5×7×7, 64, stride 1×2×2",
        "channels": 64,
    }  # and pool1
    stages = [("conv2_x", 64, 3, 56), ("conv3_x", 128, 4, 28), ("conv4_x", 256, 6, 14), ("conv5_x", 512, 3, 7)]
    for name, planes, blocks, side in stages:
        assert found[name] == {
            "output": f"L × {side} × {side}",
            "kernels": f"[3×1×1, {planes}; 1×3×3, {planes}; 1×1×1, {4 * planes}] × {blocks}",
            "channels": 4 * planes,
        }


def test_multiply_adds_of_a_residual_network_counted_by_hand():
    network = described(build(config(depth=10, width=0.125).model, 2).to("meta").eval(), frames=4, size=32)
    # outputs x kernel volume x input channels, layer by layer; stem 16 x 16, pooled to 8 x 8
    stem = 8 * (4 * 16 * 16) * (3 * 7 * 7) * 3
    widths, times, sides = (8, 8, 16, 32, 64), (4, 2, 1, 1), (8, 4, 2, 1)
    blocks = 0
    for (inputs, planes), time, side in zip(pairwise(widths), times, sides, strict=True):
        outputs = planes * time * side * side
        blocks += outputs * 27 * inputs + outputs * 27 * planes
        blocks += outputs * inputs if inputs != planes else 0  # the projection shortcut
    assert network["gmacs"] == pytest.approx((stem + blocks) / 1e9, rel=1e-12)
    assert network["gflops"] == 2 * network["gmacs"]


def test_a_transformer_is_described_by_its_tokens():
    vit = {"dim": 16, "depth": 2, "heads": 2, "patch": 8, "size": 24, "frames": 4}
    network = build(config(arch="timesformer", vit=vit).model, 2).to("meta").eval()
    found = described(network, frames=4, size=24)
    assert (found["tokens"], found["blocks"], found["dim"]) == (4 * 9, 2, 16)
    assert not any(key.startswith("conv") for key in found)
    tokens, dim = 36, 16

    def attention(sequences, length):
        return 4 * sequences * length * dim**2 + 2 * sequences * length**2 * dim

    patches = tokens * (3 * 8 * 8) * dim
    # over time, over space with the CLS token in each frame, and the MLP
    block = attention(9, 4) + tokens * dim**2 + attention(4, 10) + (tokens + 1) * 8 * dim**2
    assert found["gmacs"] == pytest.approx((patches + 2 * block) / 1e9, rel=1e-12)
    own = sum(value.numel() for name, value in network.named_parameters() if not name.startswith("fc."))
    assert found["parameters"] == own


def test_timesformer_costs_what_it_is_known_to():
    found = architecture(config(arch="timesformer"))
    assert 3 * found["gmacs"] / 1e3 == pytest.approx(0.59, abs=0.005)  # TimeSformer Table 2: TFLOPs of 3 crops
    assert found["parameters"] / 1e6 == pytest.approx(121.4, abs=0.5)


def test_networks_that_learn_beside_the_evaluated_one_stand_under_their_names():
    run = tiny_run("ltg")
    found = architecture(run)
    assert found["teacher"].keys() == found.keys() - {"teacher", "training"}
    assert found["training"]["parameters"] == 2 * found["parameters"]
    alone = architecture(tiny_run("fixmatch"))
    assert alone["training"] == {cost: alone[cost] for cost in ("parameters", "gmacs", "gflops")}


def test_cmpls_auxiliary_network_is_described_on_its_own_clip():
    options = {
        "threshold": 0.9,
        "lambda_u": 5,
        "auxiliary": {"width": 0.25},
        "auxiliary_frames": 16,
        "auxiliary_stride": 4,
    }
    found = architecture(config("cmpl", options, **R50))
    auxiliary = found["auxiliary"]
    assert (found["frames"], auxiliary["frames"]) == (8, 16)
    assert (auxiliary["conv5_x"]["channels"], auxiliary["conv5_x"]["output"]) == (512, "L × 7 × 7")
    assert found["training"]["gmacs"] == pytest.approx(found["gmacs"] + auxiliary["gmacs"])


@pytest.mark.parametrize("method", sorted(path.stem for path in METHODS_FOLDER.glob("*.yaml")))
def test_every_methods_network_can_be_described(method):
    found = architecture(tiny_run(method))
    assert found["gmacs"] > 0
    json.dumps(found, allow_nan=False)
