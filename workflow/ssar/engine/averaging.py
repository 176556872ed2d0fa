"""Averages over a training: of the weights (EMA) and, after it, of the batch statistics (PreciseBN)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from ssar.exchange import Kept, Turns, processes
from ssar.models.batch_statistics import BatchStatistics


def exponential_average(predictor: nn.Module, decay: float) -> AveragedModel:
    """A copy of the predictor that follows it: w <- decay w + (1 - decay) w_t after every step, buffers included.

    The first update copies the weights, so the random initialisation has no part in the average.
    """
    return AveragedModel(predictor, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def precise_bn(predictor: nn.Module, clips: Iterable[Sequence[Tensor]], keep: Kept, of: int) -> None:
    """Replace every batch normalisation's running statistics by the plain average of its per-batch ones.

    During training these are an exponential average over augmented clips and moving weights; LTG measures them again
    with the final weights (Table 3f). `clips`: batches (B, 3, T, H, W), those that go side by side together; `keep`
    and `of` as in `ssar.exchange.Turns`. The module's mode is restored. Collective.
    """
    statistics = BatchStatistics(predictor)
    if not statistics.layers:  # a step of one share needs no other batch normalisation than torch's
        update_bn((batch for group in clips for batch in group), predictor)
        return
    training, sums, count, batches = predictor.training, None, 0, 0
    predictor.train()
    with torch.no_grad():
        for group in clips:
            Turns([functools.partial(predictor, batch) for batch in group], keep, of).run()
            noted = torch.cat([torch.cat(both) for passes in statistics.take() for both in passes])
            sums, count = noted if sums is None else sums + noted, count + 1
            batches = count * len(group) * processes()
        assert sums is not None
        parts = iter((sums / count).split([len(x) for layer in statistics.layers for x in 2 * [layer.running_mean]]))
        for layer in statistics.layers:
            layer.running_mean.copy_(next(parts))
            layer.running_var.copy_(next(parts))
            layer.num_batches_tracked.fill_(batches)
    predictor.train(training)
