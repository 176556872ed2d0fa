"""Residual blocks of 3D ResNets. Module names agree with torchvision's video ResNets."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

Size = tuple[int, int, int]


def conv_bn(inputs: int, outputs: int, kernel: Size, stride: Size = (1, 1, 1), *, relu: bool) -> nn.Sequential:
    """Convolution (t, h, w) without bias that keeps the size at stride 1, batch normalisation, maybe ReLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    parts: list[nn.Module] = [
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(outputs),
    ]
    return nn.Sequential(*parts, nn.ReLU(inplace=True)) if relu else nn.Sequential(*parts)


def _shortcut(inputs: int, outputs: int, stride: Size) -> nn.Module | None:
    """1x1x1 projection where the block changes the shape; None where the identity fits."""
    if inputs == outputs and stride == (1, 1, 1):
        return None
    return conv_bn(inputs, outputs, (1, 1, 1), stride, relu=False)


class BasicBlock(nn.Module):
    """Two t x 3 x 3 convolutions (LTG Table 4 with t = 3), or one of them and a 1 x 3 x 3 one (CMPL Appendix D)."""

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, planes: int, temporal: int, stride: Size, first_alone: bool = False) -> None:
        super().__init__()
        self.conv1 = conv_bn(inputs, planes, (temporal, 3, 3), stride, relu=True)
        self.conv2 = conv_bn(planes, planes, (1 if first_alone else temporal, 3, 3), relu=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) to (B, planes, T/s_t, H/s_h, W/s_w)."""
        identity = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.conv2(self.conv1(x)) + identity)
        return out


class Bottleneck(nn.Module):
    """t x 1 x 1, 1 x 3 x 3 and 1 x 1 x 1 convolutions (CMPL Table A4 with t = 3); the second one strides.

    The first convolution alone has a temporal kernel, whatever `first_alone` says of basic blocks.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, planes: int, temporal: int, stride: Size, first_alone: bool = True) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = conv_bn(inputs, planes, (temporal, 1, 1), relu=True)
        self.conv2 = conv_bn(planes, planes, (1, 3, 3), stride, relu=True)
        self.conv3 = conv_bn(planes, outputs, (1, 1, 1), relu=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, H, W) to (B, 4 planes, T/s_t, H/s_h, W/s_w)."""
        identity = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.conv3(self.conv2(self.conv1(x))) + identity)
        return out
