"""Decoding one clip: the only code between a list of frame numbers and uint8 tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssar.config import RunConfig, TemporalGradient
from ssar.data.cache import CachedReader, FrameCache
from ssar.data.reader import Reader, open_video
from ssar.data.temporal_gradient import read_with_gradient
from ssar.data.tg_store import TGStore
from ssar.errors import UserError


class ClipTask(NamedTuple):
    """Which frames of which video; `seed`, `label` and `number` travel along for whoever asked."""

    video: str  # path relative to the video root
    indices: np.ndarray  # (T,) int64
    label: int = 0
    number: int = 0  # place of the video in its list
    seed: int = 0
    length: int = 0  # frames of the video that decode, for the cache


class Clip(NamedTuple):
    """Decoded frames and temporal gradients at the same indices, each uint8 (T, H, W, 3); None: not asked for."""

    frames: Tensor | None
    tg: Tensor | None


@dataclass(frozen=True)
class ClipDecoder:
    """Decodes a `ClipTask`, and nothing that is not asked for. Can be sent to other processes.

    The reader is opened for each clip, in the process that decodes: a shared decord reader deadlocks after a fork.
    Raises UserError, naming the video, when it does not decode.
    """

    root: Path
    reader: str = "auto"
    short_side: int | None = None
    rgb: bool = True
    tg: TemporalGradient | None = None  # None: no gradients
    store: TGStore | None = None  # None: gradients are computed from the decoded frames
    cache: FrameCache | None = None

    def _stored(self, task: ClipTask) -> np.ndarray | None:
        """The gradients at a task's indices, from the store."""
        if self.tg is None or self.store is None:
            return None
        store, video = self.store, task.video
        if self.cache is None:
            return store.frames(video, task.indices)
        length = task.length - self.tg.interval
        return self.cache.frames((video, "tg"), task.indices, length, lambda indices: store.frames(video, indices))

    def _open(self, task: ClipTask) -> Reader:
        def read() -> Reader:
            return open_video(self.root / task.video, self.reader, self.short_side)

        return read() if self.cache is None else CachedReader(self.cache, task.video, task.length, read)

    def __call__(self, task: ClipTask) -> Clip:
        stored = self._stored(task)
        if not self.rgb and stored is not None:
            return Clip(None, torch.from_numpy(stored))
        reader = self._open(task)
        try:
            if self.tg is None or stored is not None:
                frames, tg = reader.frames(task.indices.tolist()), stored
            else:
                frames, tg = read_with_gradient(reader, task.indices, self.tg.interval, self.tg.sign)
        finally:
            reader.close()
        if tg is not None and tg.shape != frames.shape:
            raise UserError(
                f"{task.video}: stored temporal gradients are {tg.shape[2]}x{tg.shape[1]} pixels, but frames "
                f"{frames.shape[2]}x{frames.shape[1]}; the video or the decoder has changed: extract them anew"
            )
        return Clip(torch.from_numpy(frames) if self.rgb else None, None if tg is None else torch.from_numpy(tg))


def run_decoder(
    config: RunConfig,
    video_root: Path,
    store: TGStore | None,
    reader: str,
    modalities: frozenset[str],
    cache_mb: int = 0,
) -> ClipDecoder:
    """The decoder of a run's clips for some modalities. Raises UserError for a store of other gradients."""
    tg = config.tg if "tg" in modalities else None
    if tg and store:
        store.check(config.tg, config.data.tg_codec, config.data.decode_short_side)
    cache = FrameCache(cache_mb * 2**20) if cache_mb else None
    return ClipDecoder(video_root, reader, config.data.decode_short_side, "rgb" in modalities, tg, store, cache)
