"""The optimiser of a run."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adam, Optimizer

from ssar.config import OptimConfig


def build(optim: OptimConfig, module: nn.Module) -> Optimizer:
    """SGD or Adam over every trainable parameter; weight decay on all of them, as the papers' code has it."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if optim.name == "sgd":
        return SGD(
            parameters,
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
        )
    return Adam(parameters, lr=optim.lr, weight_decay=optim.weight_decay)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
