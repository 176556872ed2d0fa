"""Temporal warping augmentation (SVFormer): some frames of a clip, held for as long as the others lasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def temporal_warp(clips: Tensor, kept: Sequence[int], fill: Literal["nearest", "even"]) -> Tensor:
    """Float clips (B, 3, T, H, W) to a new tensor of that shape, each frame one of the clip's, in their order.

    Each clip keeps a number of frames that is drawn from `kept`, which are equally likely; T or more leaves it as it
    is. The frames are drawn without repetition. `nearest`: a dropped frame is replaced by the nearest one that was
    kept, the earlier of two. `even`: every kept frame lasts equally long. Draws come from torch's global random state.
    """
    count, frames = clips.shape[0], clips.shape[2]
    choice = torch.randint(len(kept), (count,), device=clips.device)
    number = torch.tensor(kept, device=clips.device).clamp(max=frames)[choice]  # (B,) frames kept
    rank = torch.rand(count, frames, device=clips.device).argsort(dim=1).argsort(dim=1)
    source = _sources(rank < number[:, None], fill)
    return clips.gather(2, source[:, None, :, None, None].expand_as(clips))


def _sources(visible: Tensor, fill: Literal["nearest", "even"]) -> Tensor:
    """Which frame stands at each time: (B, T) bool of the frames kept, at least one each, to (B, T) int64."""
    frames = visible.shape[1]
    time = torch.arange(frames, device=visible.device)
    if fill == "even":
        number = visible.sum(dim=1, keepdim=True)
        in_order = (~visible).to(torch.uint8).argsort(dim=1, stable=True)  # the kept ones first, by time
        return in_order.gather(1, time * number // frames)
    # twice the distance, so that a later frame loses against an earlier one that is as near
    distance = 2 * (time[:, None] - time).abs() + (time > time[:, None]).long()
    return torch.where(visible[:, None], distance, 4 * frames).argmin(dim=2)
