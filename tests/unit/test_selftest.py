"""The numeric self-test finds a layer whose low-precision gradients are wrong, and only that one."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ssar.config import ModelConfig, RunConfig, parse_run
from ssar.engine.layout import channels_last
from ssar.engine.numerics import settle
from ssar.engine.selftest import keep_in_fp32, mismatches
from ssar.errors import UserError
from ssar.methods import method_class
from ssar.methods.base import Batch, Method, View
from ssar.models.build import build
from ssar.runtime import Runtime


class _WrongInBf16(torch.autograd.Function):
    """x w^T, whose weight gradient is halved wherever the arithmetic is bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        factor = 0.5 if gradients[0].dtype == torch.bfloat16 else 1.0
        return gradients[0] @ weight, factor * gradients[0].t() @ x


class Wrong(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        dtype = torch.bfloat16 if torch.is_autocast_enabled(input.device.type) else torch.float32
        result: Tensor = _WrongInBf16.apply(input.to(dtype), self.weight.to(dtype))
        return result


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def small_network() -> nn.Module:
    torch.manual_seed(0)
    # four frames throughout, and no single pixel to stride over, keep clear of the library's own mistakes
    return build(ModelConfig(depth=10, width=0.125, temporal_strides=(1, 1, 1, 1), stem_pool=False), 3)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sound_network_passes_untouched(clips: Tensor, dtype: torch.dtype, last: bool) -> None:
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    assert mismatches(network, lambda probe: probe(clips), dtype, last) == []
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_wrong_layer_is_named_and_cured_by_fp32(clips: Tensor) -> None:
    network = small_network()
    network.fc = Wrong(64, 3, bias=False)
    assert mismatches(network, lambda probe: probe(clips), torch.float32, True) == []
    (found,) = mismatches(network, lambda probe: probe(clips), torch.bfloat16, True)
    assert (found.layer, found.quantity) == ("fc", "gradient of weight")
    assert found.error == pytest.approx(0.5, abs=0.01)

    names = list(network.state_dict())
    keep_in_fp32(network, [found.layer])
    assert list(network.state_dict()) == names
    # a copy must be cured, too: moving averages are copies
    for cured in (network, copy.deepcopy(network)):
        assert mismatches(cured, lambda probe: probe(clips), torch.bfloat16, True) == []


def test_gradients_that_are_not_numbers_are_found(clips: Tensor) -> None:
    class Poisoned(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            output = super().forward(input)
            return output * float("nan") if output.dtype == torch.bfloat16 else output

    network = small_network()
    network.fc = Poisoned(64, 3)
    found = mismatches(network, lambda probe: probe(clips), torch.bfloat16, False)
    assert {mismatch.layer for mismatch in found} == {"fc"}
    assert {mismatch.error for mismatch in found} == {float("inf")}


def test_a_batch_of_two_does_not_raise_a_false_alarm() -> None:
    """Normalising two values per channel leaves gradients that are differences of equal numbers."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    pair = torch.randn(2, 8)
    for dtype in (torch.float32, torch.bfloat16):
        assert mismatches(head, lambda probe: probe(pair), dtype, False) == []


def test_r3d18_on_eight_frames_trains_right_on_this_machine_after_the_fallback() -> None:
    """Its third stage puts out two frames, where bf16 is wrong on some CPUs. Whatever this machine does, what the
    self-test leaves in bf16 must agree with fp32 in the whole network's gradient."""
    torch.manual_seed(0)
    network = build(ModelConfig(depth=18, width=0.125), 3)
    clips = torch.randn(4, 3, 8, 32, 32)
    found = mismatches(network, lambda probe: probe(clips), torch.bfloat16, True)
    assert all(mismatch.layer.startswith("layer3") for mismatch in found)

    reference = copy.deepcopy(network)
    channels_last(network)
    keep_in_fp32(network, sorted({mismatch.layer for mismatch in found}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(clips)
    loss = nn.functional.cross_entropy
    loss(low.float(), torch.tensor([0, 1, 2, 0])).backward()
    loss(reference(clips), torch.tensor([0, 1, 2, 0])).backward()
    for (name, left), right in zip(network.named_parameters(), reference.parameters(), strict=True):
        similarity = nn.functional.cosine_similarity(left.grad.flatten(), right.grad.flatten(), dim=0)
        assert similarity > 0.7, name


def supervised(clips: Tensor) -> tuple[Method, Batch, RunConfig]:
    """A method whose classifier is wrong in bf16, and a batch for it."""
    values: dict[str, Any] = {
        "method": "supervised",
        "version": 1,
        "dataset": "made-up",
        "data": {},
        "labels": {"protocol": "all"},
        "model": {"depth": 10, "width": 0.125, "temporal_strides": [1, 1, 1, 1], "stem_pool": False},
        "optim": {"lr": 0.1},
        "train": {"steps": 1},
        "precision": "bf16-mixed",
        "channels_last": True,
        "options": {},
    }
    config = parse_run(json.dumps(values))
    method = method_class("supervised")(config, 3)
    method.predictor.fc = Wrong(64, 3, bias=False)
    return method, Batch({View("labelled", "rgb", "weak"): clips}, torch.tensor([0, 1, 2, 0]), None, 0.0), config


def test_fallback_is_reported_and_repeated_when_the_run_continues(clips: Tensor) -> None:
    fabric = Fabric(accelerator="cpu", precision="bf16-mixed")
    method, batch, config = supervised(clips)
    report = settle(fabric, method, config, Runtime(), batch, known=())
    assert report["layers_in_fp32"] == ["predictor.fc"]
    assert "predictor.fc: gradient of weight, relative error 0.5" in report["mismatches"][0]
    assert isinstance(method.predictor.fc, Wrong)
    assert type(method.predictor.fc) is not Wrong
    stem = next(method.predictor.parameters())
    assert stem.is_contiguous(memory_format=torch.channels_last_3d)

    again, batch, _ = supervised(clips)
    report = settle(fabric, again, config, Runtime(self_test="off"), batch, known=report["layers_in_fp32"])
    assert report["layers_in_fp32"] == ["predictor.fc"]
    assert type(again.predictor.fc) is not Wrong


def test_refusal_names_the_layer_and_the_ways_out(clips: Tensor) -> None:
    method, batch, config = supervised(clips)
    fabric = Fabric(accelerator="cpu", precision="bf16-mixed")
    with pytest.raises(UserError, match=r"precision: 32-true(.|\n)*predictor\.fc: gradient of weight"):
        settle(fabric, method, config, Runtime(self_test="refuse"), batch, known=())


def test_fp32_in_the_default_format_is_the_reference_itself(clips: Tensor) -> None:
    method, batch, config = supervised(clips)
    plain = config.model_copy(update={"precision": "32-true", "channels_last": False})
    report = settle(Fabric(accelerator="cpu"), method, plain, Runtime(), batch, known=())
    assert report == {"setting": "fallback", "mismatches": [], "layers_in_fp32": []}
