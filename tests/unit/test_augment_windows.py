"""Views of several clips of a video, independent draws of one clip, crops of other kinds, and colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssar.augment import Augmenter, Draw, make_batch, weak
from ssar.augment import colour as colours
from ssar.config import Augment, Colour, StrongAugment, WeakAugment
from ssar.data.loader import RawBatch
from ssar.methods.base import View

SIZE = 12
WEAK = WeakAugment(short_side=16, size=SIZE)
WINDOWS = {"main": 2, "long": 3}


def raw_batch(count: int = 3) -> RawBatch:
    """Videos of 2 main and 3 long frames, every frame another noise."""
    generator = torch.Generator().manual_seed(1)
    frames = [torch.randint(0, 256, (5, 24, 30, 3), dtype=torch.uint8, generator=generator) for _ in range(count)]
    numbers = torch.arange(count)
    return RawBatch(frames, None, numbers, numbers, numbers + 7, windows=WINDOWS)


def rgb(machine: Augmenter, raw: RawBatch, *draw: object) -> Tensor:
    return machine.weak(raw, "unlabelled", Draw(*draw))["rgb"]  # type: ignore[arg-type]


def test_each_window_has_its_own_frames_and_crop() -> None:
    machine, raw = Augmenter(Augment(weak=WEAK)), raw_batch()
    assert rgb(machine, raw).shape == (3, 2, 3, SIZE, SIZE)
    assert rgb(machine, raw, "long").shape == (3, 3, 3, SIZE, SIZE)
    same = raw_batch()
    same.frames = [frames[:1].expand(5, -1, -1, -1) for frames in same.frames or ()]
    assert not torch.equal(rgb(machine, same)[:, :2], rgb(machine, same, "long")[:, :2])
    shared = Augmenter(Augment(weak=WEAK, windows="shared"))
    assert torch.equal(rgb(shared, same)[:, :2], rgb(shared, same, "long")[:, :2])
    assert torch.equal(rgb(shared, raw), rgb(machine, raw))


def test_copies_are_independent_and_the_first_is_the_plain_one() -> None:
    machine, raw = Augmenter(Augment(weak=WEAK)), raw_batch(8)
    plain = RawBatch([frames[:2] for frames in raw.frames or ()], None, raw.label, raw.video, raw.seed)
    assert torch.equal(machine.weak(plain)["rgb"], rgb(machine, raw, "main", 0))
    different = (rgb(machine, raw, "main", 1) != rgb(machine, raw, "main", 0)).flatten(1).any(dim=1)
    assert different.all()


def test_a_batch_with_windows_copies_and_both_strengths() -> None:
    wanted = [
        View("unlabelled", "rgb", strength, clip, copy)  # type: ignore[arg-type]
        for strength in ("weak", "strong")
        for clip in WINDOWS
        for copy in (0, 1)
    ]
    batch = make_batch(Augmenter(Augment(weak=WEAK)), {"labelled": None, "unlabelled": raw_batch()}, wanted, 0.0)
    assert list(batch.clips) == wanted or set(batch.clips) == set(wanted)
    assert all(clips.shape == (3, 3, WINDOWS[view.clip], SIZE, SIZE) for view, clips in batch.clips.items())
    assert batch.label.shape == (0,)
    assert batch.video["unlabelled"].tolist() == [0, 1, 2]
    values = [clips.flatten()[:50].tolist() for clips in batch.clips.values()]
    assert len({tuple(value) for value in values}) == len(wanted)


def test_unlabelled_clips_may_have_a_weak_view_of_their_own() -> None:
    centre = WEAK.model_copy(update={"crop": "centre", "flip": 0.0})
    machine, raw = Augmenter(Augment(weak=WEAK, unlabelled=centre)), raw_batch()
    first, second = (machine.weak(raw, "unlabelled", Draw("main", copy))["rgb"] for copy in (0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(machine.weak(raw, "labelled")["rgb"], first)


def test_a_strong_view_on_a_crop_of_its_own() -> None:
    raw = raw_batch()
    for crop, same in (("shared", True), ("own", False)):
        machine = Augmenter(Augment(weak=WEAK, strong=StrongAugment(operations=0, crop=crop)))  # type: ignore[arg-type]
        base = machine.weak(raw)
        assert torch.equal(machine.strong(base, raw)["rgb"], base["rgb"]) == same


def test_dropped_channels_are_zero_and_the_rest_is_scaled() -> None:
    raw, clips = raw_batch(40), torch.ones(40, 3, 2, 4, 4)
    machine = Augmenter(Augment(strong=StrongAugment(channel_dropout=0.25)))
    found = machine.dropped(clips, raw, Draw())
    per_channel = found.flatten(2)
    assert torch.equal(per_channel.amin(dim=2), per_channel.amax(dim=2))
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert 0.6 < (found > 0).float().mean() < 0.9
    assert torch.equal(Augmenter(Augment()).dropped(clips, raw, Draw()), clips)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["resized", "jitter", "squash", "centre"]),
    st.integers(8, 90),
    st.integers(8, 90),
    st.integers(0, 2**32),
)
def test_every_kind_of_box_lies_in_the_frame(crop: str, height: int, width: int, seed: int) -> None:
    config = WEAK.model_copy(update={"crop": crop, "short_side_max": 20})
    box = weak.draw(height, width, config, np.random.default_rng(seed)).box
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert min(box.height, box.width) >= 1


def test_a_squashed_box_has_the_frames_ratio_and_a_centre_box_its_centre() -> None:
    rng = np.random.default_rng(0)
    squash = weak.draw(100, 200, WEAK.model_copy(update={"crop": "squash", "factor": (0.5, 0.5)}), rng).box
    assert (squash.height, squash.width) == (50, 100)
    centre = weak.draw(64, 128, WEAK.model_copy(update={"crop": "centre"}), rng).box
    assert (centre.top, centre.left, centre.height, centre.width) == (8, 40, 48, 48)  # 12 of 16, at 4 pixels each


def test_colours_are_the_same_for_all_frames_and_bounded() -> None:
    config = Colour(jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, gray=0.5)
    still = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8).expand(4, -1, -1, -1)
    drawn = [colours.draw(config, np.random.default_rng(seed)) for seed in range(200)]
    for one in drawn[:20]:
        found = colours.apply(still, one)
        assert found.dtype == torch.uint8
        assert torch.equal(found, found[:1].expand_as(found))
        assert not one.gray or torch.equal(found[:, 0], found[:, 1])
    assert all(0.6 <= (one.brightness or 0) <= 1.4 and abs(one.hue or 0) <= 0.1 for one in drawn)
    assert 0.4 < np.mean([one.gray for one in drawn]) < 0.6


def test_no_colour_changes_nothing() -> None:
    clip = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(colours.apply(clip, colours.draw(Colour(), np.random.default_rng(0))), clip)


def test_colours_leave_gradients_alone() -> None:
    raw = raw_batch()
    raw.tg = raw.frames
    config = Colour(gray=1.0)
    found = Augmenter(Augment(weak=WEAK.model_copy(update={"colour": config}))).weak(raw)
    plain = Augmenter(Augment(weak=WEAK)).weak(raw)
    assert torch.equal(found["tg"], plain["tg"])
    assert torch.equal(found["rgb"][:, :, 0], found["rgb"][:, :, 2])


def test_a_mirrored_clip_has_mirrored_flow() -> None:
    still, right = 128, 150
    flow = torch.full((2, 24, 30, 3), still, dtype=torch.uint8)
    flow[..., 0] = right
    raw = raw_batch(20)
    raw.frames, raw.flow, raw.windows = None, [flow] * 20, {}
    found = Augmenter(Augment(weak=WEAK)).weak(raw)["flow"]
    assert {tuple(values) for values in found[:, 0, :, 0, 0].tolist()} == {(right, 128, 128), (256 - right, 128, 128)}
