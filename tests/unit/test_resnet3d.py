"""The backbone against LTG's Table 4, CMPL's Table A4, torchvision and the released sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import r3d_18

from ssar.config import ModelConfig
from ssar.models.build import build
from ssar.models.resnet3d import LAYOUTS, ResNet3d, scaled

# LTG supplement, Table 4: layer, frames as a share of L, side, kernel of every convolution, channels, repetitions.
# conv1 convolves 224 to 112; its row's 56 needs the max-pooling that the table does not print.
TABLE_4 = """
conv1    1    56   3x7x7   64   1
conv2_x  1    56   3x3x3   64   2
conv3_x  1/2  28   3x3x3   128  2
conv4_x  1/4  14   3x3x3   256  2
conv5_x  1/8  7    3x3x3   512  2
"""

# CMPL, Table A4: stage, blocks, output C x T x S.
TABLE_A4 = """
res2  3  256   8  56
res3  4  512   8  28
res4  6  1024  8  14
res5  3  2048  8  7
"""
CMPL = ModelConfig(depth=50, stem_kernel=(5, 7, 7), temporal_strides=(1, 1, 1, 1))


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def shapes(network: ResNet3d, clip: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes without the batch after stem and pooling, then after each stage; computed without arithmetic."""
    with torch.device("meta"):
        x = torch.empty(1, 3, *clip)
    network = network.to("meta").eval()
    stem = network.stem_pool(network.stem(x))
    return [tuple(y.shape[1:]) for y in (stem, *network.stages(x))]


def convolutions(module: nn.Module) -> list[nn.Conv3d]:
    """Convolutions on the residual paths."""
    return [part for name, part in module.named_modules() if isinstance(part, nn.Conv3d) and "downsample" not in name]


def test_sizes_and_kernels_are_those_of_table_4() -> None:
    length, network = 8, build(ModelConfig(), 101)
    rows = zip(table(TABLE_4), shapes(build(ModelConfig(), 101), (length, 224, 224)), strict=True)
    stages = [network.stem, network.layer1, network.layer2, network.layer3, network.layer4]
    for ((_, share, side, kernel, channels, repetitions), shape), stage in zip(rows, stages, strict=True):
        frames = length // int(share.partition("/")[2] or 1)
        assert shape == (int(channels), frames, int(side), int(side))
        found = convolutions(stage)
        assert len(found) == (1 if stage is network.stem else 2 * int(repetitions))
        assert {"x".join(map(str, conv.kernel_size)) for conv in found} == {kernel}
    assert network.stem[0].stride == (1, 2, 2)


def test_pool2_gives_the_released_sizes_and_parameters() -> None:
    network = build(ModelConfig(pool2=True), 101)
    backbone = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("fc."))
    assert round(backbone / 1e6, 2) == 33.17
    assert shapes(network, (8, 224, 224))[1:] == [(64, 4, 56, 56), (128, 2, 28, 28), (256, 1, 14, 14), (512, 1, 7, 7)]


@pytest.mark.parametrize(("pool2", "giga"), [(True, 18.8), (False, 22.5)])
def test_multiplications_of_one_clip(pool2: bool, giga: float) -> None:
    """As measured on the released network, with its second pooling and without."""
    with FlopCounterMode(display=False) as counter:
        shapes(build(ModelConfig(pool2=pool2), 101), (8, 224, 224))
    flops = counter.get_flop_counts()["Global"].values()
    stem = 64 * 8 * 112**2 * 3 * 3 * 7 * 7  # `shapes` runs the stem twice
    assert round((sum(flops) / 2 - stem) / 1e9, 1) == giga


def test_depth_50_is_cmpl_table_a4() -> None:
    network = build(CMPL, 400)
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    for stage, (_, blocks, *size) in zip(stages, table(TABLE_A4), strict=True):
        assert len(stage) == int(blocks)
        assert [conv.kernel_size for conv in convolutions(stage)] == [(3, 1, 1), (1, 3, 3), (1, 1, 1)] * int(blocks)
        assert convolutions(stage)[-1].out_channels == int(size[0])
    expected = [(int(c), int(t), int(s), int(s)) for _, _, c, t, s in table(TABLE_A4)]
    assert shapes(network, (8, 224, 224)) == [(64, 8, 56, 56), *expected]


def test_slow_r50_pattern_has_its_published_parameter_count() -> None:
    """TimeBalance's teachers: PyTorchVideo documents Slow R50 with 32.45 M parameters at 400 classes."""
    slow = ModelConfig(depth=50, stem_kernel=(1, 7, 7), temporal_kernels=(1, 1, 3, 3), temporal_strides=(1, 1, 1, 1))
    assert round(sum(p.numel() for p in build(slow, 400).parameters()) / 1e6, 2) == 32.45


def test_parity_with_torchvision() -> None:
    torch.manual_seed(0)
    theirs = r3d_18(num_classes=5)
    ours = build(ModelConfig(stem_pool=False), 5)
    assert {name: x.shape for name, x in ours.state_dict().items()} == {
        name: x.shape for name, x in theirs.state_dict().items()
    }
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 4, 24, 24)
    for mode in (True, False):  # batch statistics, then the running ones that the first pass has moved
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", LAYOUTS)
def test_depth_counts_weighted_layers(depth: int) -> None:
    network = build(ModelConfig(depth=depth, width=0.125), 4)
    assert len(convolutions(network)) + 1 == depth


def test_width_is_a_multiple_of_8_and_at_least_8() -> None:
    assert [scaled(64, width) for width in (1, 1 / 4, 1 / 8, 1 / 64, 0.3)] == [64, 16, 8, 8, 16]
    quarter = build(ModelConfig(depth=50, width=0.25), 4)
    assert quarter.fc.in_features == 2048 // 4


def test_the_ways_through_the_network_agree() -> None:
    torch.manual_seed(0)
    network = build(ModelConfig(depth=10, width=0.125, dropout=0.5), 4).eval()
    x = torch.randn(2, 3, 4, 16, 16)
    stages, pooled, logits = network.forward_all(x)
    torch.testing.assert_close(network(x), logits)
    torch.testing.assert_close(network.features(x), pooled)
    torch.testing.assert_close(network.head(pooled), logits)
    torch.testing.assert_close(stages[-1].mean(dim=(2, 3, 4)), pooled)
    assert not torch.equal(network.train().head(pooled), logits), "dropout stands before the classifier"


def test_channels_last_changes_the_layout_only() -> None:
    torch.manual_seed(0)
    network = build(ModelConfig(depth=10, width=0.125), 4).eval()
    x = torch.randn(2, 3, 4, 16, 16)
    expected = network(x)
    network = network.to(memory_format=torch.channels_last_3d)
    features = network.forward_all(x.to(memory_format=torch.channels_last_3d))
    assert features.stages[0].is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(features.logits, expected, rtol=1e-4, atol=1e-5)


def test_compiles_without_a_break_and_serves_forward_all() -> None:
    torch.compiler.reset()  # other tests of this process compiled the same code, which counts as recompiling
    torch.manual_seed(0)
    network = build(ModelConfig(depth=10, width=0.125), 4).eval()
    x = torch.randn(2, 3, 4, 16, 16)
    expected = network(x)
    compiled: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        compiled.append(graph)
        return graph

    network.compile(backend=backend, fullgraph=True)
    torch.testing.assert_close(network.forward_all(x).logits, expected)
    assert len(compiled) == 5, "the stem and four stages"


def test_the_first_convolution_of_a_basic_block_may_be_the_only_inflated_one() -> None:
    """CMPL Appendix D."""
    network = build(ModelConfig(depth=10, width=0.125, inflated="first"), 3)
    for stage in (network.layer1, network.layer4):
        kernels = [part.kernel_size for part in stage.modules() if isinstance(part, torch.nn.Conv3d)]
        assert kernels[:2] == [(3, 3, 3), (1, 3, 3)]
