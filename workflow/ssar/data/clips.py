"""Decoding one clip: the only code between a list of frame numbers and uint8 tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssar.config import OpticalFlow, RunConfig, TemporalGradient
from ssar.data.cache import CachedReader, FrameCache
from ssar.data.reader import Reader, open_video
from ssar.data.temporal_gradient import read_with_gradient
from ssar.data.tg_store import TGStore
from ssar.errors import UserError


class ClipTask(NamedTuple):
    """Which frames of which video; `seed`, `label` and `number` travel along for whoever asked."""

    video: str  # path relative to the video root
    indices: np.ndarray  # (T,) int64; the clips of a video stand one after the other
    label: int = 0
    number: int = 0  # place of the video in its list
    seed: int = 0
    length: int = 0  # frames of the video that decode, for the cache
    root: Path | None = None  # folder of the video, if it is of another dataset than the decoder's and its store's


class Clip(NamedTuple):
    """Frames, temporal gradients and optical flow at the same indices, each uint8 (T, H, W, 3); None: not asked for."""

    frames: Tensor | None
    tg: Tensor | None
    flow: Tensor | None = None


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
    store: TGStore | None = None  # None: gradients are computed from the decoded frames, as of other datasets' videos
    flow: OpticalFlow | None = None  # None: no optical flow
    cache: FrameCache | None = None

    def _stored(self, task: ClipTask) -> np.ndarray | None:
        """The gradients at a task's indices, from the store; None where there is no store, or of another dataset."""
        if self.tg is None or self.store is None or task.root is not None:
            return None
        store, video = self.store, task.video
        if self.cache is None:
            return store.frames(video, task.indices)
        length = task.length - self.tg.interval
        return self.cache.frames((video, "tg"), task.indices, length, lambda indices: store.frames(video, indices))

    def _open(self, task: ClipTask) -> Reader:
        def read() -> Reader:
            return open_video(path, self.reader, self.short_side)

        path = (task.root or self.root) / task.video
        return read() if self.cache is None else CachedReader(self.cache, str(path), task.length, read)

    @property
    def lookahead(self) -> int:
        """Frames that a video must have after each one that is asked for."""
        return max(self.tg.interval if self.tg else 0, 1 if self.flow else 0)

    def __call__(self, task: ClipTask) -> Clip:
        stored = self._stored(task)
        if not self.rgb and self.flow is None and stored is not None:
            return Clip(None, torch.from_numpy(stored))
        reader = self._open(task)
        flow = None
        try:
            if self.tg is None or stored is not None:
                tg = stored
                frames = None if self.flow else reader.frames(task.indices.tolist())
            else:
                frames, tg = read_with_gradient(reader, task.indices, self.tg.interval, self.tg.sign)
            if self.flow is not None:
                from ssar.data.optical_flow import read_with_flow  # OpenCV, which most runs never need

                frames, flow = read_with_flow(reader, task.indices, self.flow)
        finally:
            reader.close()
        assert frames is not None
        if tg is not None and tg.shape != frames.shape:
            raise UserError(
                f"{task.video}: stored temporal gradients are {tg.shape[2]}x{tg.shape[1]} pixels, but frames "
                f"{frames.shape[2]}x{frames.shape[1]}; the video or the decoder has changed: extract them anew"
            )
        return Clip(torch.from_numpy(frames) if self.rgb else None, _tensor(tg), _tensor(flow))


def _tensor(frames: np.ndarray | None) -> Tensor | None:
    return None if frames is None else torch.from_numpy(frames)


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
    flow = config.flow if "flow" in modalities else None
    rgb = "rgb" in modalities
    return ClipDecoder(video_root, reader, config.data.decode_short_side, rgb, tg, store, flow, cache)
