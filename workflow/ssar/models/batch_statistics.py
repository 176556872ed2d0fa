"""Batch normalisation of a step that is made of several shares (see ssar.exchange), the same on any number of devices.

Which clips are normalised together is `train.batch_norm`: those of a share, as on one of the paper's GPUs; of all
shares, as synchronised batch normalisation has it; or of the shares that a device computes at once, which then depends
on their number.

Running statistics move once a step, by the mean over the shares of what each saw, so that they are those of no share in
particular. A network that is run several times in a share moves as often, in that order.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssar.errors import UserError
from ssar.exchange import Turns, exchange, gather_shares, place, processes
from ssar.models.normalise import mean_and_variance, normalise

Together = Literal["share", "device", "step"]
"""What is normalised together."""


class StepBatchNorm(nn.Module):
    """A batch normalisation whose running statistics wait for `BatchStatistics.commit`. Made by `convert`."""

    together: Together
    noted: dict[int, list[tuple[Tensor, Tensor]]]
    """By share here: mean and unbiased variance (C,) of each pass since the last commit."""

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float
    eps: float

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) normalised, in training by the statistics of the clips that belong together."""
        if not self.training:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if self.together == "share":
            mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
            output = F.batch_norm(input, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        else:
            output, mean, variance = self._normalised(input)
        if Turns.now is not None:  # what is run beside the shares of a step moves nothing
            self.noted.setdefault(place(), []).append((mean.detach(), variance.detach()))
        return output

    def _normalised(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The input normalised by the statistics of several shares; these, the variance unbiased."""
        own = torch.stack(mean_and_variance(input))
        every = gather_shares(own) if self.together == "step" else exchange(own, torch.stack)
        means, variances = every.unbind(dim=1)  # (shares, C): these have equally many values each
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        output = normalise(input, mean, variance, self.weight, self.bias, self.eps)
        values = len(every) * input.numel() // input.shape[1]
        return output, mean, variance * values / max(values - 1, 1)


def convert(module: nn.Module, together: Together) -> None:
    """Let every batch normalisation of a module normalise what belongs together. The state's names stay.

    Raises UserError for one without running statistics, or with other than exponential averages of them.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm):
            if not layer.track_running_stats or layer.momentum is None:
                raise UserError(
                    f"{name}: batch normalisation in steps of several shares needs track_running_stats and a momentum; "
                    "give the layer both, or train with train.global_labelled: null"
                )
            layer.__class__ = _made_of(type(layer))  # type: ignore[assignment]
            layer.together, layer.noted = together, {}  # type: ignore[assignment]


_KINDS: dict[type, type] = {}


def _made_of(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a layer of this kind; it prints and copies as before."""
    if kind not in _KINDS:
        _KINDS[kind] = type(f"Step{kind.__name__}", (StepBatchNorm, kind), {})
    return _KINDS[kind]


class BatchStatistics:
    """What the batch normalisations of a module noted in a step, of all processes. Nothing where there are none."""

    def __init__(self, module: nn.Module) -> None:
        self.layers = [layer for layer in module.modules() if isinstance(layer, StepBatchNorm)]

    @torch.no_grad()
    def take(self) -> list[list[tuple[Tensor, Tensor]]]:
        """For each layer, the mean over all shares of each pass's mean and variance. Collective; forgets them."""
        found = [self._mean_of_shares(layer) for layer in self.layers]
        flat = [statistic for passes in found for both in passes for statistic in both]
        if processes() > 1 and flat:
            vector = torch.cat(flat)
            dist.all_reduce(vector)
            parts = iter((vector / processes()).split([len(part) for part in flat]))
            found = [[(next(parts), next(parts)) for _ in passes] for passes in found]
        return found

    def _mean_of_shares(self, layer: StepBatchNorm) -> list[tuple[Tensor, Tensor]]:
        shares, layer.noted = list(layer.noted.values()), {}
        if len({len(passes) for passes in shares}) > 1:
            raise RuntimeError(f"some shares of a step ran {layer} more often than others: a loss must not skip")
        passes = list(zip(*shares, strict=True))
        return [
            (torch.stack([mean for mean, _ in seen]).mean(dim=0), torch.stack([var for _, var in seen]).mean(dim=0))
            for seen in passes
        ]

    @torch.no_grad()
    def commit(self) -> None:
        """Move the running statistics by what was noted since the last time."""
        for layer, passes in zip(self.layers, self.take(), strict=True):
            for mean, variance in passes:
                layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), layer.momentum)
                layer.running_var.lerp_(variance.to(layer.running_var.dtype), layer.momentum)
                layer.num_batches_tracked.add_(1)
