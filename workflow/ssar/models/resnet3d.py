"""3D residual networks: one builder for LTG's R3D-18, CMPL's and TimeBalance's R3D-50 and small ones.

The modules are named as in ``torchvision.models.video.r3d_18``, so that the state dicts agree key by key
in the matching configuration (``stem_pool: false``). Everything that differs between papers is data in
``ModelConfig``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ssar.config import ModelConfig
from ssar.models.backbone import Backbone, Features
from ssar.models.blocks import BasicBlock, Bottleneck, conv_bn

LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


def scaled(channels: int, width: float) -> int:
    """Channels times the width multiplier, as a multiple of 8 that is at least 8.

    Our choice: vector units and tensor cores work in groups of 8 channels, and CMPL's 1/4 is exact in it.
    """
    return max(8, 8 * round(channels * width / 8))


class ResNet3d(Backbone):
    """A 3D ResNet: stem, four residual stages, global average pooling, dropout, classifier."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        block, counts = LAYOUTS[config.depth]
        planes = [scaled(channels, config.width) for channels in (64, 128, 256, 512)]
        self.stem = conv_bn(3, planes[0], config.stem_kernel, config.stem_stride, relu=True)
        self.stem_pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if config.stem_pool else nn.Identity()
        # the released LTG code halves time a second time here, before the first feature map is taken
        self.pool2 = nn.MaxPool3d((2, 1, 1)) if config.pool2 else nn.Identity()
        inputs, first_alone = planes[0], config.inflated == "first"
        for stage in range(4):
            space = config.spatial_strides[stage]
            stride = (config.temporal_strides[stage], space, space)
            blocks: list[nn.Module] = []
            for index in range(counts[stage]):
                first = stride if index == 0 else (1, 1, 1)
                blocks.append(block(inputs, planes[stage], config.temporal_kernels[stage], first, first_alone))
                inputs = planes[stage] * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(inputs, num_classes)
        self._initialise(config.bn_eps)

    def _initialise(self, bn_eps: float) -> None:
        """He initialisation of the convolutions; a small classifier (std 0.01) as in the released LTG code."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm3d):
                module.eps = bn_eps
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Clips (B, 3, T, H, W) to the four stages' feature maps (B, C_i, T_i, H_i, W_i)."""
        x = self.stem_pool(self.stem(x))
        first = self.pool2(self.layer1(x))
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, self.layer4(third)]

    def pool(self, last: Tensor) -> Tensor:
        """The last feature map (B, C, T, H, W) to its mean (B, C)."""
        return last.mean(dim=(2, 3, 4))

    def features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to pooled features (B, C) before dropout and classifier."""
        return self.pool(self.stages(x)[-1])

    def head(self, features: Tensor) -> Tensor:
        """Pooled features (B, C) to logits (B, K)."""
        logits: Tensor = self.fc(self.dropout(features))
        return logits

    def forward_all(self, x: Tensor) -> Features:
        """One pass over clips (B, 3, T, H, W) with everything that a loss may want of it."""
        stages = self.stages(x)
        pooled = self.pool(stages[-1])
        return Features(stages, pooled, self.head(pooled))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile in place, stage by stage.

        `nn.Module.compile` covers calls of `forward` alone; training goes through `forward_all`. The
        stages are what both share, and blocks of the same shape are compiled once.
        """
        for stage in (self.stem, self.layer1, self.layer2, self.layer3, self.layer4):
            stage.compile(*args, **kwargs)
