"""From decoded clips to the batch that a method sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssar.augment.augmenter import Augmenter, Draw
from ssar.methods.base import Batch, View
from ssar.methods.options import Stream

if TYPE_CHECKING:
    from ssar.data.loader import RawBatch


def make_batch(augmenter: Augmenter, raw: Mapping[str, RawBatch | None], views: Iterable[View], epoch: float) -> Batch:
    """The wanted views of the micro-batches {"labelled": ..., "unlabelled": ...}, on the augmenter's device.

    Every clip is cropped once for all views of it. `epoch` is the fractional epoch of the step.
    """
    views = tuple(views)
    clips: dict[View, Tensor] = {}
    for name, batch in raw.items():
        if batch is None:
            continue
        stream: Stream = "labelled" if name == "labelled" else "unlabelled"
        for draw in dict.fromkeys(Draw(view.clip, view.copy) for view in views if view.stream == name):
            wanted = [view for view in views if view.stream == name and (view.clip, view.copy) == draw]
            made = {"weak": augmenter.weak(batch, stream, draw)}
            if any(view.strength == "strong" for view in wanted):
                asked = {view.modality for view in wanted if view.strength == "strong"}
                base = {modality: clip for modality, clip in made["weak"].items() if modality in asked}
                made["strong"] = augmenter.strong(base, batch, stream, draw)
            for view in wanted:
                clip = augmenter.normalise(made[view.strength][view.modality])
                clips[view] = augmenter.dropped(clip, batch, draw) if view.strength == "strong" else clip
    labelled, unlabelled = raw["labelled"], raw["unlabelled"]
    device = augmenter.device
    none = torch.empty(0, dtype=torch.int64, device=device)
    label = none if labelled is None else labelled.label.to(device, non_blocking=True)
    truth = None if unlabelled is None or bool((unlabelled.label < 0).any()) else unlabelled.label.to(device)
    video = {name: batch.video.to(device, non_blocking=True) for name, batch in raw.items() if batch is not None}
    return Batch(clips, label, truth, epoch, video)
