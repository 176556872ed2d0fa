"""The views of decoded clips, on the training device."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssar.augment import colour, strong, weak
from ssar.config import Augment, Colour, Modality, WeakAugment
from ssar.data.sampling import MAIN
from ssar.data.seeds import Purpose, generator
from ssar.methods.options import Stream

if TYPE_CHECKING:
    from ssar.data.loader import RawBatch

STRONG = {"rgb": Purpose.STRONG_RGB, "tg": Purpose.STRONG_TG, "flow": Purpose.STRONG_FLOW}
MODALITIES: dict[Modality, str] = {"rgb": "frames", "tg": "tg", "flow": "flow"}
"""Where a raw batch has the frames of each modality."""


class Draw(NamedTuple):
    """Which clip of the videos, and which independent draw of the augmentation."""

    clip: str = MAIN
    copy: int = 0


FIRST = Draw()
"""The main clip's first one."""


class Augmenter:
    """Makes views of decoded clips on a device. `seed` is the run's: it fixes signs that are drawn once."""

    def __init__(self, config: Augment, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self.config, self.device = config, torch.device(device)
        mean, std = (torch.tensor(v, device=self.device)[:, None, None, None] for v in (config.mean, config.std))
        self.scale, self.shift = 1 / std, -mean / std
        self.signs = {
            modality: strong.draw_signs(generator(Purpose.SIGNS, seed, purpose))
            if config.strong.signs == "per-pipeline"
            else None
            for modality, purpose in STRONG.items()
        }

    def weak(self, raw: RawBatch, stream: Stream = "labelled", draw: Draw = FIRST) -> dict[Modality, Tensor]:
        """The weak views of one clip of every video, {modality: uint8 (B, T, 3, S, S)} of those that were decoded.

        Crop, resize and flip are the same for all modalities of a clip; colours change in RGB alone.
        """
        config = self.config.weak if stream == "labelled" else self.config.unlabelled or self.config.weak
        views = self._cropped(raw, config, Purpose.WEAK, draw)
        return self._coloured(views, config.colour, raw, Purpose.WEAK_COLOUR, draw)

    def strong(
        self, weak_views: Mapping[Modality, Tensor], raw: RawBatch, stream: Stream = "labelled", draw: Draw = FIRST
    ) -> dict[Modality, Tensor]:
        """The strong views on top of the weak ones of the same clip, or on a crop of their own."""
        config, number = self.config.strong, self._words(raw, draw)
        views = dict(weak_views)
        if config.crop == "own":
            base = self.config.weak if stream == "labelled" else self.config.unlabelled or self.config.weak
            flip = base.flip if config.flip is None else config.flip
            own = self._cropped(raw, base.model_copy(update={"flip": flip}), Purpose.STRONG_CROP, draw)
            views = {modality: own[modality] for modality in views}
        for modality, clips in views.items():
            purpose = STRONG[modality]
            draws = [
                strong.draw(config, generator(purpose, seed, *number), self.signs[modality])
                for seed in raw.seed.tolist()
            ]
            views[modality] = strong.apply(clips, draws, config)
        return self._coloured(views, config.colour, raw, Purpose.STRONG_COLOUR, draw)

    def dropped(self, clips: Tensor, raw: RawBatch, draw: Draw) -> Tensor:
        """Normalised clips (B, 3, T, S, S) with whole channels set to zero; the others keep their scale's mean.

        As `dropout2d` does with a 3-dimensional clip in SVFormer's code: kept channels are divided by 1 - p.
        """
        share = self.config.strong.channel_dropout
        if share == 0:
            return clips
        number = self._words(raw, draw)
        kept = [
            generator(Purpose.CHANNELS, seed, *number).random(clips.shape[1]) >= share for seed in raw.seed.tolist()
        ]
        mask = torch.tensor(np.array(kept), device=clips.device, dtype=clips.dtype)[:, :, None, None, None]
        return clips * mask / (1 - share)

    def normalise(self, clips: Tensor) -> Tensor:
        """Network input: uint8 (B, T, 3, S, S) to float (B, 3, T, S, S), each channel ``(x - mean) / std``."""
        return clips.transpose(1, 2).contiguous().float().mul_(self.scale).add_(self.shift)

    def _words(self, raw: RawBatch, draw: Draw) -> tuple[int, ...]:
        """What of a draw its random numbers depend on, beside the sample; nothing for the first of the main clip."""
        number = list(raw.windows).index(draw.clip) if raw.windows else 0
        return (number, draw.copy) if number or draw.copy else ()

    def _cropped(self, raw: RawBatch, config: WeakAugment, purpose: Purpose, draw: Draw) -> dict[Modality, Tensor]:
        # clips of one video that share a crop still differ between copies
        number = self._words(raw, Draw(MAIN, draw.copy) if self.config.windows == "shared" else draw)
        decoded = {name: getattr(raw, field) for name, field in MODALITIES.items() if getattr(raw, field) is not None}
        views: dict[Modality, list[Tensor]] = {name: [] for name in decoded}
        part = _part(raw.windows, draw.clip)
        for place, seed in enumerate(raw.seed.tolist()):
            clips = [clips[place][part].to(self.device, non_blocking=True) for clips in decoded.values()]
            height, width = clips[0].shape[1:3]
            drawn = weak.draw(height, width, config, generator(purpose, seed, *number))
            for name, view in zip(decoded, weak.apply(clips, drawn, config.size), strict=True):
                views[name].append(_mirrored_flow(view) if name == "flow" and drawn.flip else view)
        return {name: torch.stack(clips) for name, clips in views.items()}

    def _coloured(
        self, views: dict[Modality, Tensor], config: Colour | None, raw: RawBatch, purpose: Purpose, draw: Draw
    ) -> dict[Modality, Tensor]:
        if config is None or "rgb" not in views:
            return views
        number = self._words(raw, draw)
        changes = [colour.draw(config, generator(purpose, seed, *number)) for seed in raw.seed.tolist()]
        clips = [colour.apply(clip, change) for clip, change in zip(views["rgb"], changes, strict=True)]
        return views | {"rgb": torch.stack(clips)}


def _mirrored_flow(view: Tensor) -> Tensor:
    """Flow of a mirrored clip, uint8 (T, 3, S, S): what moved to the right moves to the left, around 128."""
    horizontal = (256 - view[:, :1].int()).clamp(max=255).to(torch.uint8)
    return torch.cat([horizontal, view[:, 1:]], dim=1)


def _part(windows: Mapping[str, int], clip: str) -> slice:
    """Where a clip's frames are among those of its video."""
    if not windows:
        return slice(None)
    ends = dict(zip(windows, accumulate(windows.values()), strict=True))
    return slice(ends[clip] - windows[clip], ends[clip])
