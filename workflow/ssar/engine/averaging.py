"""Averages over a training: of the weights (EMA) and, after it, of the batch statistics (PreciseBN)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn


def exponential_average(predictor: nn.Module, decay: float) -> AveragedModel:
    """A copy of the predictor that follows it: w <- decay w + (1 - decay) w_t after every step, buffers included.

    The first update copies the weights, so the random initialisation has no part in the average.
    """
    return AveragedModel(predictor, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def precise_bn(predictor: nn.Module, clips: Iterable[Tensor]) -> None:
    """Replace every batch normalisation's running statistics by the plain average of its per-batch ones.

    During training these are an exponential average over augmented clips and moving weights; LTG measures them again
    with the final weights (Table 3f). `clips`: batches (B, 3, T, H, W). The module's mode is restored.
    """
    update_bn(clips, predictor)
