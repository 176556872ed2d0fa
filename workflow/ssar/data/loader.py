"""Training clips as pure functions of the run's seed: no state to save, the same data on any number of devices.

Position p of a stream is sample ``p % N`` of the random permutation that belongs to pass ``p // N`` over its N videos,
so every pass holds each video once. Step t takes the positions ``t * B .. (t + 1) * B - 1``, where B counts the clips
of an optimiser step over all devices and micro-batches; micro-batch a of device r holds the block ``a * devices + r``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ssar.config import ClipConfig, Modality, RunConfig
from ssar.data.clips import Clip, ClipDecoder, ClipTask, run_decoder
from ssar.data.sampling import MAIN, window_indices
from ssar.data.seeds import Purpose, derived_seed, generator
from ssar.data.tg_store import TGStore
from ssar.data.workers import in_order
from ssar.errors import UserError
from ssar.methods.options import Window
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from ssar.data.split import Split, Video

STREAMS = ("labelled", "unlabelled", "precise_bn")
"""Names of the streams; the place of a name is part of the stream's random numbers."""


@dataclass
class RawBatch:
    """One stream's micro-batch as decoded, on the CPU. Lists have one entry per clip, at its native size."""

    frames: list[Tensor] | None  # each uint8 (T, H, W, 3); None: the method does not read RGB
    tg: list[Tensor] | None  # each uint8 (T, H, W, 3), at the same indices; None: the method does not read gradients
    label: Tensor  # (B,) int64 true labels
    video: Tensor  # (B,) int64 places in the split's list of the stream
    seed: Tensor  # (B,) int64 seed of the sample's augmentation
    flow: list[Tensor] | None = None  # each uint8 (T, H, W, 3), at the same indices; None: it reads no optical flow
    windows: Mapping[str, int] = field(default_factory=dict)  # frames of each clip of a video, in their order in T


@dataclass(frozen=True)
class Stream:
    """An endless sequence of samples of one list of videos."""

    name: str  # one of STREAMS
    videos: Sequence[Video]
    batch: int  # clips per device and micro-batch
    seed: int  # the run's
    windows: tuple[Window, ...] = ()  # clips of a video beside the main one
    root: Path | None = None  # folder of the videos, if it is not the decoder's

    def frames(self, clip: ClipConfig) -> dict[str, int]:
        """Frames of each clip of a video, in the order in which they are decoded."""
        return {MAIN: clip.frames} | {window.name: window.frames for window in self.windows}

    def sample(self, position: int, clip: ClipConfig, lookahead: int) -> ClipTask:
        """What to decode at a position: a pure function of (seed, stream, position)."""
        stream = STREAMS.index(self.name)
        turn, place = divmod(position, len(self.videos))
        number = int(_order(self.seed, stream, turn, len(self.videos))[place])
        video = self.videos[number]
        rng = generator(Purpose.CLIP, self.seed, stream, position)
        main = Window(MAIN, clip.frames, clip.stride)
        parts = window_indices(video.frames, main, self.windows, rng, lookahead, clip.short_videos)
        seed = derived_seed(Purpose.SAMPLE, self.seed, stream, position)
        indices = np.concatenate(list(parts.values()))
        return ClipTask(video.path, indices, video.label, number, seed, video.frames, self.root)


@lru_cache(maxsize=8)
def _order(seed: int, stream: int, turn: int, count: int) -> np.ndarray:
    return generator(Purpose.ORDER, seed, stream, turn).permutation(count)


@dataclass(frozen=True)
class ClipLoader:
    """Decodes streams side by side, in worker processes where the runtime has some.

    Raises UserError for a stream without videos, and one that lists all videos too short for a temporal gradient.
    """

    decoder: ClipDecoder
    streams: tuple[Stream, ...]
    clip: ClipConfig
    runtime: Runtime
    pin_memory: bool = False

    def __post_init__(self) -> None:
        empty = [f"no {stream.name} videos" for stream in self.streams if not stream.videos]
        if empty:
            raise UserError.of("the split cannot be trained on:", empty)
        short = {v.path: v.frames for stream in self.streams for v in stream.videos if v.frames <= self.lookahead}
        if short:
            raise UserError.of(
                f"temporal gradients of interval {self.lookahead} need at least {self.lookahead + 1} frames; exclude:",
                [f"{path}: {frames} frames" for path, frames in short.items()],
            )

    @property
    def lookahead(self) -> int:
        """Frames that a clip's last frame must have after it."""
        return self.decoder.lookahead

    def batches(
        self, steps: range, accumulation: int = 1, devices: int = 1, rank: int = 0
    ) -> Iterator[dict[str, RawBatch]]:
        """Yield the micro-batches of one device, `accumulation` per step, as {stream name: RawBatch}.

        Raises UserError, naming the video, for one that does not decode, hangs or takes its process down.
        """
        results = in_order(
            self.decoder,
            self._tasks(steps, accumulation, devices, rank),
            workers=self.runtime.workers,
            seconds=self.runtime.watchdog_seconds,
            ahead=2 * sum(stream.batch for stream in self.streams),
            pin_memory=self.pin_memory,
        )
        try:
            for _ in range(len(steps) * accumulation):
                yield {
                    s.name: _collate([next(results) for _ in range(s.batch)], s.frames(self.clip)) for s in self.streams
                }
        finally:
            results.close()

    def _tasks(self, steps: range, accumulation: int, devices: int, rank: int) -> Iterator[ClipTask]:
        for step in steps:
            for micro in range(accumulation):
                block = (step * accumulation + micro) * devices + rank
                for stream in self.streams:
                    for position in range(block * stream.batch, (block + 1) * stream.batch):
                        yield stream.sample(position, self.clip, self.lookahead)


def _collate(samples: list[tuple[ClipTask, Clip]], windows: Mapping[str, int]) -> RawBatch:
    tasks, clips = zip(*samples, strict=True)
    return RawBatch(
        frames=_all([clip.frames for clip in clips]),
        tg=_all([clip.tg for clip in clips]),
        label=torch.tensor([task.label for task in tasks]),
        video=torch.tensor([task.number for task in tasks]),
        seed=torch.tensor([task.seed for task in tasks]),
        flow=_all([clip.flow for clip in clips]),
        windows=windows,
    )


def _all(frames: list[Tensor | None]) -> list[Tensor] | None:
    """The frames of all samples, or None where they were not asked for."""
    found = [part for part in frames if part is not None]
    return found or None


def training_batches(
    config: RunConfig,
    split: Split,
    video_root: Path,
    store: TGStore | None,
    runtime: Runtime,
    *,
    steps: range,
    accumulation: int = 1,
    devices: int = 1,
    rank: int = 0,
    pin_memory: bool = False,
    unlabelled_root: Path | None = None,
) -> Iterator[dict[str, RawBatch | None]]:
    """The micro-batches of one device for some optimiser steps: {"labelled": RawBatch or None, "unlabelled": the same}.

    What a method does not read is not decoded: "unlabelled" is None where it learns from labelled clips alone,
    "labelled" where it is self-supervised. `unlabelled_root`: where the unlabelled videos are of another dataset.
    `store` is None where gradients are computed at decoding. A run resumes at step t with ``range(t, end)``.

    Raises UserError for an empty stream, a store of other gradients, videos too short for a gradient (all of these at
    the call), and a video that does not decode, hangs or takes its process down (when its batch is due).
    """
    options, train, clip = config.options, config.train, config.clip
    streams = []
    if options.needs_labelled:
        windows = options.windows("labelled", clip.frames, clip.stride)
        streams.append(Stream("labelled", split.labelled, train.labelled, config.seed, windows))
    if options.needs_unlabelled:
        windows = options.windows("unlabelled", clip.frames, clip.stride)
        stream = Stream("unlabelled", split.unlabelled, train.unlabelled, config.seed, windows, unlabelled_root)
        streams.append(stream)
    decoder = run_decoder(config, video_root, store, runtime.reader, options.modalities, runtime.cache_mb)
    loader = ClipLoader(decoder, tuple(streams), clip, runtime, pin_memory)
    return (
        {"labelled": None, "unlabelled": None, **batch} for batch in loader.batches(steps, accumulation, devices, rank)
    )


def precise_bn_batches(
    config: RunConfig,
    split: Split,
    video_root: Path,
    store: TGStore | None,
    runtime: Runtime,
    *,
    modality: Modality,
    count: int,
    accumulation: int = 1,
    devices: int = 1,
    rank: int = 0,
    pin_memory: bool = False,
) -> Iterator[RawBatch]:
    """`count` times the shares of a step, of which this device computes `accumulation`: training videos, labels unused,
    in the modality of the network that is evaluated (LTG code).

    Of the unlabelled stream's batch size; of the labelled videos where the protocol has no unlabelled ones.
    """
    # videos of another dataset are not what the network is evaluated on
    videos = split.labelled if config.unlabelled else split.unlabelled or split.labelled
    stream = Stream("precise_bn", videos, config.train.unlabelled, config.seed)
    decoder = run_decoder(config, video_root, store, runtime.reader, frozenset({modality}))
    loader = ClipLoader(decoder, (stream,), config.clip, runtime, pin_memory)
    return (batch[stream.name] for batch in loader.batches(range(count), accumulation, devices, rank))
