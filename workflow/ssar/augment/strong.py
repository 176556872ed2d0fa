"""The strong view: RandAugment on top of the weak one, the same for all frames of a clip (LTG §4.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssar.augment.operations import CUTOUT, NAMES, POOL, cutout, cutout_share
from ssar.config import StrongAugment


class StrongDraw(NamedTuple):
    """The parameters of one clip's strong view."""

    operations: tuple[tuple[str, int], ...]  # name and sign, without repetition, in the order of the pool
    centre: tuple[float, float]  # of the pool's cutout: (y, x) in 0..1
    extra_centre: tuple[float, float]  # of the cutout after RandAugment


def draw_signs(rng: np.random.Generator) -> dict[str, int]:
    """One sign for every signed operation: the released code draws them once, when the pipeline is built."""
    return {name: _sign(rng) for name, operation in POOL.items() if operation.signed}


def draw(config: StrongAugment, rng: np.random.Generator, signs: dict[str, int] | None = None) -> StrongDraw:
    """Choose N different operations, and their signs where `signs` does not fix them."""
    chosen = sorted(rng.choice(len(NAMES), config.operations, replace=False).tolist())
    drawn = draw_signs(rng) if signs is None else signs
    operations = tuple((NAMES[place], drawn.get(NAMES[place], 1)) for place in chosen)
    return StrongDraw(operations, _place(rng), _place(rng))


def _sign(rng: np.random.Generator) -> int:
    return int(rng.integers(0, 2)) * 2 - 1


def _place(rng: np.random.Generator) -> tuple[float, float]:
    y, x = rng.random(2).tolist()
    return y, x


def apply(clips: Tensor, draws: Sequence[StrongDraw], config: StrongAugment) -> Tensor:
    """Apply each clip's operations: uint8 (B, T, 3, H, W) to a new tensor of that shape.

    Clips that have the same operation next are handled together; a clip's result does not depend on the others.
    """
    level = config.magnitude / 10
    done = list(clips.unbind())
    for turn in range(config.operations):
        groups = defaultdict(list)
        for number, draw in enumerate(draws):
            groups[draw.operations[turn]].append(number)
        for (name, sign), numbers in groups.items():
            group = torch.stack([done[number] for number in numbers])
            if name == CUTOUT:
                centres = torch.tensor([draws[number].centre for number in numbers], device=clips.device)
                group = cutout(group, cutout_share(level), centres)
            else:
                group = POOL[name].apply(group, sign * POOL[name].magnitude(level))
            for number, clip in zip(numbers, group.unbind(), strict=True):
                done[number] = clip
    clips = torch.stack(done)
    if config.cutout > 0:
        extra = torch.tensor([draw.extra_centre for draw in draws], device=clips.device)
        clips = cutout(clips, config.cutout, extra)
    return clips
