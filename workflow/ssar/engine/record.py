"""The record of pseudo-labels: what the networks say of every unlabelled video in the course of a training.

A network's last word on a video is its prediction when the video was last drawn; a snapshot of all last words is taken
every few epochs and at the end. ssar.evaluation.pseudo_labels reads it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ssar.evaluation.pseudo_labels import NEVER, Record
from ssar.files import atomic


class LastWords(NamedTuple):
    """What one network said last of each of V videos; on the training device."""

    label: Tensor  # (V,) int64
    confidence: Tensor  # (V,) float32: the label's probability
    step: Tensor  # (V,) int64: when

    @classmethod
    def none(cls, videos: int, device: torch.device) -> LastWords:
        """Before the first prediction."""
        label = torch.full((videos,), NEVER, device=device)
        return cls(label, torch.zeros(videos, device=device), label.clone())


class Snapshot(NamedTuple):
    """The last words of all networks at an epoch; on the CPU."""

    epoch: float
    words: dict[str, tuple[Tensor, Tensor]]  # by network: (V,) int16 labels and (V,) float32 confidences


class Recorder:
    """Keeps the last words and takes the snapshots.

    `paths`: the unlabelled videos, which `Batch.video` points into. `every`: epochs between two snapshots, above 0.
    `truth` (V,) are their true labels, for statistics alone; -1 where unknown.
    """

    def __init__(
        self, paths: Sequence[str], every: float, truth: Tensor | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.paths, self.every, self.truth, self.device = list(paths), every, truth, torch.device(device)
        self.last: dict[str, LastWords] = {}
        self.snapshots: list[Snapshot] = []

    @torch.no_grad()
    def see(self, step: int, video: Tensor, predictions: Mapping[str, Tensor]) -> None:
        """Note what each network predicts in a share of a step: videos (B,), probabilities (B, K) by network.

        `step` is higher for what is later: how many shares there were before, those of other processes included, so
        that a run may continue on another number of them.

        Queues work on the device and does not wait for it.
        """
        video = video.to(self.device, non_blocking=True)
        # a video that is twice in the batch: both write what the last says, so that the order of writing is all one
        place = torch.arange(len(video), device=self.device)
        last = ((video[:, None] == video) * place).amax(dim=1)
        for name, probabilities in predictions.items():
            if name not in self.last:
                self.last[name] = LastWords.none(len(self.paths), self.device)
            words = self.last[name]
            confidence, label = probabilities.detach().float().max(dim=1)
            words.label[video] = label[last]
            words.confidence[video] = confidence[last]
            words.step[video] = step

    def end_step(self, before: float, after: float, *, last: bool) -> None:
        """Take a snapshot if one is due: `before` and `after` are the fractional epochs around a finished step.

        All processes call it after the same steps. A snapshot's epoch is the multiple of `every` that was reached, so
        that runs with other batches can be compared; that of the `last` step is otherwise the length of the training.
        """
        # the margin is for epochs that are a rounding error short of a whole number
        reached, count = (math.floor(epoch / self.every + 1e-9) for epoch in (before, after))
        if count > reached:
            self._snapshot(count * self.every)
        elif last:
            self._snapshot(after)

    def _snapshot(self, epoch: float) -> None:
        self.merge()
        # copied, since on the CPU the last words go on changing in place
        words = {
            name: (word.label.to("cpu", torch.int16, copy=True), word.confidence.to("cpu", copy=True))
            for name, word in self.last.items()
        }
        self.snapshots.append(Snapshot(epoch, words))

    @torch.no_grad()
    def merge(self) -> None:
        """Let all processes know the newest word of any of them; of one step, the highest process's. Collective."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return
        for name, (label, confidence, step) in self.last.items():
            newest = step.clone()
            dist.all_reduce(newest, dist.ReduceOp.MAX)
            # several have the newest only where all have it from a merge before
            mine = step == newest
            merged = LastWords(label.where(mine, NEVER), confidence.where(mine, 0.0), step.where(mine, NEVER))
            for part in merged:
                dist.all_reduce(part, dist.ReduceOp.MAX)
            self.last[name] = merged

    def state_dict(self) -> dict[str, Any]:
        """Tensors and containers of them. Processes call `merge` before, since one writes the state of all."""
        return {
            "last": {name: words._asdict() for name, words in self.last.items()},
            "snapshots": [{"epoch": shot.epoch, "words": shot.words} for shot in self.snapshots],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        # copied: a state that is loaded twice is not written into
        self.last = {
            name: LastWords(**{key: value.to(self.device, copy=True) for key, value in words.items()})
            for name, words in state["last"].items()
        }
        self.snapshots = [Snapshot(shot["epoch"], dict(shot["words"])) for shot in state["snapshots"]]

    def record(self) -> Record:
        """The snapshots so far. A network that came later has said nothing in the earlier ones."""
        networks = tuple(dict.fromkeys(name for shot in self.snapshots for name in shot.words))
        shape = len(self.snapshots), len(networks), len(self.paths)
        label, confidence = np.full(shape, NEVER, np.int16), np.zeros(shape, np.float32)
        for number, shot in enumerate(self.snapshots):
            for name, (labels, confidences) in shot.words.items():
                label[number, networks.index(name)] = labels.numpy()
                confidence[number, networks.index(name)] = confidences.numpy()
        epochs = np.array([shot.epoch for shot in self.snapshots])
        truth = None if self.truth is None else self.truth.cpu().numpy()
        return Record(np.array(self.paths), epochs, networks, label, confidence, truth)

    def write(self, path: Path) -> None:
        """Write pseudo_labels.npz, atomically."""
        found = self.record()
        arrays = {**vars(found), "networks": np.array(found.networks, dtype=str)}
        if found.truth is None:
            del arrays["truth"]
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
