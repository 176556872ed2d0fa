"""The views of decoded clips, on the training device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ssar.augment import strong, weak
from ssar.config import Augment, Modality
from ssar.data.seeds import Purpose, generator

if TYPE_CHECKING:
    from ssar.data.loader import RawBatch

STRONG = {"rgb": Purpose.STRONG_RGB, "tg": Purpose.STRONG_TG}


class WeakClips(NamedTuple):
    """The weak views of a batch, each uint8 (B, T, 3, S, S); None: not decoded."""

    rgb: Tensor | None
    tg: Tensor | None


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

    def weak(self, raw: RawBatch) -> WeakClips:
        """Crop, resize and flip every clip; RGB and gradients of one clip in the same way."""
        size = self.config.weak.size
        modalities = {name: clips for name, clips in (("rgb", raw.frames), ("tg", raw.tg)) if clips is not None}
        views: dict[str, list[Tensor]] = {name: [] for name in modalities}
        for number, seed in enumerate(raw.seed.tolist()):
            clips = [clips[number].to(self.device, non_blocking=True) for clips in modalities.values()]
            height, width = clips[0].shape[1:3]
            drawn = weak.draw(height, width, self.config.weak, generator(Purpose.WEAK, seed))
            for name, view in zip(modalities, weak.apply(clips, drawn, size), strict=True):
                views[name].append(view)
        stacked = {name: torch.stack(clips) for name, clips in views.items()}
        return WeakClips(stacked.get("rgb"), stacked.get("tg"))

    def strong(self, clips: Tensor, seeds: Tensor, modality: Modality) -> Tensor:
        """RandAugment on weak views: uint8 (B, T, 3, S, S) to the same; `seeds` (B,) are the samples'."""
        config = self.config.strong
        draws = [
            strong.draw(config, generator(STRONG[modality], seed), self.signs[modality]) for seed in seeds.tolist()
        ]
        return strong.apply(clips, draws, config)

    def normalise(self, clips: Tensor) -> Tensor:
        """Network input: uint8 (B, T, 3, S, S) to float (B, 3, T, S, S), each channel ``(x - mean) / std``."""
        return clips.transpose(1, 2).contiguous().float().mul_(self.scale).add_(self.shift)
