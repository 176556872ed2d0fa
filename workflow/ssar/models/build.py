"""From a network's settings to the network."""

from __future__ import annotations

from ssar.config import ModelConfig
from ssar.models.backbone import Backbone


def build(config: ModelConfig, num_classes: int) -> Backbone:
    """A network with fresh weights from torch's global random state."""
    if config.arch == "timesformer":
        from ssar.models.timesformer import TimeSformer

        return TimeSformer(config, num_classes)
    from ssar.models.resnet3d import ResNet3d

    return ResNet3d(config, num_classes)
