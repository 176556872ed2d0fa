"""The layers, output sizes and cost of a run's networks as data, for tables like LTG Table 4 and CMPL Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssar.config import RunConfig, parse_run
from ssar.files import write_json
from ssar.methods import method_class
from ssar.models.backbone import Backbone
from ssar.models.resnet3d import ResNet3d
from ssar.models.timesformer import TimeSformer

CLASSES = 2
"""The classifier is not described, so any number of classes serves."""
COSTS = ("parameters", "gmacs", "gflops")


def write_architecture(config: str, out: Path) -> None:
    """Write `architecture` of a run, given as canonical JSON, to a JSON file."""
    write_json(out, architecture(parse_run(config)))


def architecture(config: RunConfig) -> dict[str, Any]:
    """`described` of the evaluated network, and under its own name of each other one that learns beside it.

    `training` has the sums of their costs. A network whose name is that of a window sees the window's clip, others the
    main one (CMPL's `auxiliary`). Computed without data.
    """
    with torch.device("meta"):
        method = method_class(config.method)(config, CLASSES).eval()
    others = {name: part for name, part in method.named_children() if isinstance(part, Backbone)}
    others = {name: part for name, part in others.items() if part is not method.predictor}
    frames, size = config.clip.frames, config.augment.weak.size
    windows = config.options.windows("unlabelled", frames, config.clip.stride)
    seen = {window.name: window.frames for window in windows}
    predictor = described(method.predictor, frames, size)
    rest = {name: described(network, seen.get(name, frames), size) for name, network in others.items()}
    # rounded to single operations, which binary fractions of 10^9 miss
    training = {cost: round(sum(network[cost] for network in (predictor, *rest.values())), 9) for cost in COSTS}
    return {**predictor, "training": training, **rest}


def described(network: Backbone, frames: int, size: int) -> dict[str, Any]:
    """{"frames", "size", "parameters", "gmacs", "gflops"} of a network, and its layers.

    The network is on the meta device and in evaluation mode. The costs are those of one clip's forward pass without the
    classifier: 10^9 multiply-adds, which papers on video call FLOPs, and 10^9 floating point operations, twice as many;
    those of convolutions and matrix products alone.
    """
    clip = torch.empty(1, 3, frames, size, size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.forward_all(clip)
    operations = counter.get_total_flops() - 2 * network.fc.in_features * network.fc.out_features
    layers = _transformer(network, clip) if isinstance(network, TimeSformer) else _residual(network, clip)
    backbone = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.fc.parameters())
    costs = {"parameters": backbone, "gmacs": operations / 2e9, "gflops": operations / 1e9}
    return {"frames": frames, "size": size, **costs, **layers}


@torch.no_grad()
def _residual(network: Backbone, clip: Tensor) -> dict[str, Any]:
    """{"conv1", "conv2_x", ..., "conv5_x"}, each {"output" (`output_size`), "kernels", "channels"}; conv1 includes the
    max-pooling after it."""
    assert isinstance(network, ResNet3d)
    maps = [network.stem_pool(network.stem(clip)), *network.stages(clip)]
    kernels = [_stem_kernels(network), *(_stage_kernels(stage) for stage in _stages(network))]
    names = ["conv1", *(f"conv{stage}_x" for stage in range(2, 6))]
    return {
        name: {"output": output_size(features, clip.shape[2]), "kernels": text, "channels": features.shape[1]}
        for name, features, text in zip(names, maps, kernels, strict=True)
    }


@torch.no_grad()
def _transformer(network: TimeSformer, clip: Tensor) -> dict[str, Any]:
    """{"tokens" (patches of a clip, without the CLS token), "blocks", "dim"}."""
    last = network.forward_all(clip).stages[-1]  # (1, D, T, H', W')
    return {"tokens": last[0, 0].numel(), "blocks": len(network.blocks), "dim": network.width}


def output_size(features: Tensor, frames: int) -> str:
    """Of a feature map (1, C, T, H, W): `L/2 × 28 × 28`; T itself where it does not divide the clip's frames."""
    time, height, width = features.shape[2:]
    length = str(time) if frames % time else "L" if time == frames else f"L/{frames // time}"
    return f"{length} × {height} × {width}"


def _stages(network: ResNet3d) -> list[nn.Sequential]:
    return [network.layer1, network.layer2, network.layer3, network.layer4]


def _times(values: Sequence[int]) -> str:
    return "×".join(str(value) for value in values)


def _convolutions(module: nn.Module) -> list[nn.Conv3d]:
    """Those along the main path: projection shortcuts are not listed by the papers."""
    return [
        part
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv3d) and not name.startswith("downsample")
    ]


def _stem_kernels(network: ResNet3d) -> str:
    convolution = _convolutions(network.stem)[0]
    stride = _times(convolution.stride)
    return f"{_times(convolution.kernel_size)}, {convolution.out_channels}, stride {stride}"


def _stage_kernels(stage: nn.Sequential) -> str:
    """The convolutions of a block, and how many blocks: `[3×3×3, 64; 3×3×3, 64] × 2`."""
    blocks = list(stage)
    inside = "; ".join(f"{_times(part.kernel_size)}, {part.out_channels}" for part in _convolutions(blocks[0]))
    return f"[{inside}] × {len(blocks)}"
