"""Temporal warping augmentation (SVFormer): some frames of a clip, held for as long as the others lasted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor


def temporal_warp(clips: Tensor, kept: Sequence[int], fill: Literal["nearest", "random"]) -> Tensor:
    """Float clips (B, 3, T, H, W) to a new tensor of that shape, each frame one of the clip's, in their order.

    Each clip keeps a number of frames that is drawn from `kept`, which are equally likely; T or more leaves it as it
    is. The frames are drawn without repetition. `nearest`: a dropped frame is replaced by the nearest one that was
    kept, the earlier of two. `random`: two kept frames that are not neighbours share the time from the one to before
    the other, which begins at a random place of it or after it, all equally likely (SVFormer code). Draws come from
    torch's global random state.
    """
    count, frames = clips.shape[0], clips.shape[2]
    choice = torch.randint(len(kept), (count,), device=clips.device)
    number = torch.tensor(kept, device=clips.device).clamp(max=frames)[choice]  # (B,) frames kept
    rank = torch.rand(count, frames, device=clips.device).argsort(dim=1).argsort(dim=1)
    source = _sources(rank < number[:, None], fill)
    return clips.gather(2, source[:, None, :, None, None].expand_as(clips))


def _sources(visible: Tensor, fill: Literal["nearest", "random"]) -> Tensor:
    """Which frame stands at each time: (B, T) bool of the frames kept, at least one each, to (B, T) int64."""
    frames = visible.shape[1]
    time = torch.arange(frames, device=visible.device)
    if fill == "random":
        first = visible.to(torch.uint8).argmax(dim=1, keepdim=True)
        before = torch.where(visible, time, first).cummax(dim=1).values  # the kept frame at or before each time
        after = torch.where(visible, time, frames).flip(1).cummin(dim=1).values.flip(1)
        after = torch.cat([after[:, 1:], after.new_full((len(after), 1), frames)], dim=1)  # after it
        between = (after < frames) & (after - before > 1)
        drawn = torch.rand(visible.shape, device=visible.device).gather(1, before)  # one for each frame kept
        turn = before + (drawn * (after - before + 1)).long()
        return torch.where(between & (time >= turn), after, before)
    # twice the distance, so that a later frame loses against an earlier one that is as near
    distance = 2 * (time[:, None] - time).abs() + (time > time[:, None]).long()
    return torch.where(visible[:, None], distance, 4 * frames).argmin(dim=2)
