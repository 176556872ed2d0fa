"""From decoded clips to the batch that a method sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ssar.augment.augmenter import Augmenter
from ssar.methods.base import Batch, View

if TYPE_CHECKING:
    from ssar.data.loader import RawBatch


def make_batch(augmenter: Augmenter, raw: Mapping[str, RawBatch | None], views: Iterable[View], epoch: float) -> Batch:
    """The wanted views of the micro-batches {"labelled": ..., "unlabelled": ...}, on the augmenter's device.

    Each stream is cropped once, however many views are made of it. `epoch` is the fractional epoch of the step.
    """
    views = tuple(views)
    clips: dict[View, Tensor] = {}
    for name, batch in raw.items():
        wanted = [view for view in views if view.stream == name]
        if batch is None or not wanted:
            continue
        weak = augmenter.weak(batch)._asdict()
        for view in wanted:
            clip = weak[view.modality]
            if view.strength == "strong":
                clip = augmenter.strong(clip, batch.seed, view.modality)
            clips[view] = augmenter.normalise(clip)
    labelled, unlabelled = raw["labelled"], raw["unlabelled"]
    assert labelled is not None
    label = labelled.label.to(augmenter.device, non_blocking=True)
    truth = None if unlabelled is None else unlabelled.label.to(augmenter.device, non_blocking=True)
    return Batch(clips, label, truth, epoch)
