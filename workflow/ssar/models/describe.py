"""A network's layers and output sizes as data, for tables like LTG Table 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssar.config import RunConfig, parse_run
from ssar.files import write_json
from ssar.models.resnet3d import ResNet3d

CLASSES = 2
"""The classifier is not described, so any number of classes serves."""


def write_architecture(config: str, out: Path) -> None:
    """Write `architecture` of a run, given as canonical JSON, to a JSON file."""
    write_json(out, architecture(parse_run(config)))


def architecture(config: RunConfig) -> dict[str, Any]:
    """{"frames", "size", "parameters" (without the classifier), "conv1", "conv2_x", ..., "conv5_x"}.

    A layer is {"output" (`output_size`), "kernels", "channels"}; conv1 includes the max-pooling after it. Computed by
    a pass over the network without data.
    """
    with torch.device("meta"):
        network = ResNet3d(config.model, CLASSES).eval()
        size = config.augment.weak.size
        clip = torch.empty(1, 3, config.clip.frames, size, size)
        stem = network.stem_pool(network.stem(clip))
        maps = [stem, *network.stages(clip)]
    kernels = [_stem_kernels(network), *(_stage_kernels(stage) for stage in _stages(network))]
    names = ["conv1", *(f"conv{stage}_x" for stage in range(2, 6))]
    layers = {
        name: {"output": output_size(features, config.clip.frames), "kernels": text, "channels": features.shape[1]}
        for name, features, text in zip(names, maps, kernels, strict=True)
    }
    backbone = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in network.fc.parameters())
    return {"frames": config.clip.frames, "size": size, "parameters": backbone, **layers}


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
