"""Weak and strong views of batches: consistency over time, pairing, independence of the batch, normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssar.augment import Augmenter, make_batch, strong, weak
from ssar.augment.operations import NAMES
from ssar.augment.views import centre, crops
from ssar.config import Augment, StrongAugment, WeakAugment
from ssar.data.loader import RawBatch
from ssar.data.temporal_gradient import temporal_gradient
from ssar.methods.base import View

WEAK = WeakAugment(short_side=36, size=24)
SIZES = [(40, 56), (56, 40), (48, 48), (33, 70)]


def clip(number: int, height: int, width: int, frames: int = 4) -> torch.Tensor:
    """A clip (T, H, W, 3) of moving smooth texture."""
    t, y, x, c = np.meshgrid(*map(np.arange, (frames, height, width, 3)), indexing="ij")
    wave = np.sin((x + 2 * t) / (4 + number)) + np.cos((y - t) / 6 + c + number)
    return torch.from_numpy((127 + 60 * wave).round().clip(0, 255).astype(np.uint8))


def raw_batch(seeds: list[int], sizes=SIZES, **changes) -> RawBatch:
    frames = [clip(number, *sizes[number % len(sizes)]) for number in range(len(seeds))]
    tg = [torch.from_numpy(temporal_gradient(f.numpy(), f.roll(-1, 0).numpy())) for f in frames]
    numbers = torch.arange(len(seeds))
    values = {"frames": frames, "tg": tg, "label": numbers % 2, "video": numbers, "seed": torch.tensor(seeds)}
    return RawBatch(**{**values, **changes})


def augmenter(**strong) -> Augmenter:
    return Augmenter(Augment(weak=WEAK, strong=StrongAugment(**strong)), seed=3)


def strong_rgb(machine: Augmenter, views: torch.Tensor, raw: RawBatch) -> torch.Tensor:
    """The strong views of weak RGB ones."""
    return machine.strong({"rgb": views}, raw)["rgb"]


def test_views_are_consistent_over_time():
    # one frame, repeated: after any augmentation the frames must still be equal
    raw = raw_batch(list(range(30)))
    raw.frames = [frames[:1].expand(4, -1, -1, -1) for frames in raw.frames]
    machine = augmenter(operations=3, cutout=0.3)
    views = machine.weak(raw)["rgb"]
    strong_views = strong_rgb(machine, views, raw)
    for found in (views, strong_views):
        assert found.shape == (30, 4, 3, 24, 24)
        assert found.dtype == torch.uint8
        assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.equal(views, strong_views)


def test_rgb_and_gradients_share_crop_and_flip():
    raw = raw_batch(list(range(12)))
    same = raw_batch(list(range(12)), tg=raw.frames)
    views = augmenter().weak(same)
    assert torch.equal(views["rgb"], views["tg"])
    alone = augmenter().weak(raw_batch(list(range(12)), frames=None))
    both = augmenter().weak(raw)
    assert "rgb" not in alone
    assert torch.equal(alone["tg"], both["tg"])


def test_strong_views_of_rgb_and_gradients_are_drawn_independently():
    views = augmenter().weak(raw_batch(list(range(40))))["rgb"]
    found = augmenter().strong({"rgb": views, "tg": views}, raw_batch(list(range(40))))
    differ = (found["rgb"] != found["tg"]).flatten(1).any(dim=1)
    assert differ.float().mean() > 0.9


def test_a_view_does_not_depend_on_the_rest_of_the_batch():
    seeds = [11, 12, 13, 14, 15, 16, 17, 18]
    machine = augmenter(operations=3, cutout=0.2)
    raw = raw_batch(seeds)
    together = machine.weak(raw)["rgb"]
    strong_together = strong_rgb(machine, together, raw)
    for number in range(len(seeds)):
        one = RawBatch([raw.frames[number]], None, raw.label[:1], raw.video[:1], raw.seed[number : number + 1])
        alone = augmenter(operations=3, cutout=0.2).weak(one)["rgb"]
        assert torch.equal(alone[0], together[number])
        assert torch.equal(strong_rgb(machine, alone, one)[0], strong_together[number])


@settings(max_examples=150, deadline=None)
@given(st.integers(8, 400), st.integers(8, 400), st.integers(0, 2**63 - 1))
def test_a_crop_lies_in_the_frame_and_has_the_asked_area_and_aspect(height, width, seed):
    config = WeakAugment(short_side=256, size=224, area=(0.2, 0.9))
    box = weak.draw(height, width, config, np.random.default_rng(seed)).box
    assert 0 <= box.top < box.top + box.height <= height
    assert 0 <= box.left < box.left + box.width <= width
    if min(height, width) >= 64 and max(height, width) < 1.3 * min(height, width):
        assert 0.15 < box.height * box.width / (height * width) < 0.95
        assert 0.7 < box.width / box.height < 1.4


def test_the_weak_view_is_one_resize_of_the_crop():
    frames = clip(0, 60, 80)
    drawn = weak.WeakDraw(weak.Box(7, 11, 40, 50), flip=True)
    found = weak.apply([frames], drawn, 24)[0]
    image = Image.fromarray(frames[2].numpy()).crop((11, 7, 61, 47)).resize((24, 24), Image.Resampling.BILINEAR)
    wanted = torch.from_numpy(np.asarray(image).copy()).flip(1).permute(2, 0, 1)
    assert (found[2].int() - wanted.int()).abs().max() <= 2


def test_half_of_the_clips_are_flipped():
    drawn = [weak.draw(40, 56, WEAK, np.random.default_rng(seed)) for seed in range(1000)]
    assert abs(sum(one.flip for one in drawn) / 1000 - 0.5) < 0.06


def test_operations_are_drawn_without_repetition_and_uniformly():
    config = StrongAugment(operations=2)
    draws = [strong.draw(config, np.random.default_rng(seed)) for seed in range(6000)]
    names = [[name for name, _ in one.operations] for one in draws]
    assert all(len(set(pair)) == 2 for pair in names)
    counts = {name: sum(name in pair for pair in names) for name in NAMES}
    assert all(abs(count / 800 - 1) < 0.2 for count in counts.values())
    signs = [sign for one in draws for name, sign in one.operations if name == "rotate"]
    assert abs(np.mean(signs)) < 0.15
    assert {sign for one in draws for name, sign in one.operations if name == "invert"} == {1}


def test_signs_per_pipeline_are_drawn_once():
    machine = augmenter(signs="per-pipeline")
    config = machine.config.strong
    draws = [strong.draw(config, np.random.default_rng(seed), machine.signs["rgb"]) for seed in range(500)]
    seen = {(name, sign) for one in draws for name, sign in one.operations}
    assert len(seen) == len({name for name, _ in seen}) == 15
    assert set(augmenter().signs.values()) == {None}


def test_no_operation_leaves_the_weak_view():
    views = augmenter().weak(raw_batch([1, 2]))["rgb"]
    assert torch.equal(strong_rgb(augmenter(operations=0), views, raw_batch([1, 2])), views)


def test_the_extra_cutout_comes_on_top():
    views = torch.full((6, 2, 3, 24, 24), 7, dtype=torch.uint8)
    found = strong_rgb(augmenter(operations=0, cutout=0.5), views, raw_batch(list(range(6))))
    share = (found == 128).float().mean(dim=(1, 2, 3, 4))
    assert (share > 0.05).all()
    assert (share <= 0.3).all()


def test_normalisation_is_per_channel():
    machine = augmenter()
    clips = torch.randint(0, 256, (2, 4, 3, 24, 24), dtype=torch.uint8)
    found = machine.normalise(clips)
    assert found.shape == (2, 3, 4, 24, 24)
    assert found.is_contiguous()
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (machine.config.mean, machine.config.std))
    wanted = (clips.transpose(1, 2).double() - mean.double()) / std.double()
    assert torch.allclose(found.double(), wanted, atol=1e-5)


@pytest.mark.parametrize("modalities", [("rgb", "tg"), ("tg",)])
def test_a_batch_has_exactly_the_views_that_a_method_wants(modalities):
    views = [View("labelled", m, "weak") for m in modalities]
    views += [View("unlabelled", m, s) for m in modalities for s in ("weak", "strong")]
    drop = {} if "rgb" in modalities else {"frames": None}
    raw = {"labelled": raw_batch([1, 2], **drop), "unlabelled": raw_batch([3, 4, 5], **drop)}
    machine = augmenter()
    batch = make_batch(machine, raw, views, epoch=1.5)
    assert set(batch.clips) == set(views)
    assert all(len(found) == (2 if view.stream == "labelled" else 3) for view, found in batch.clips.items())
    assert batch.label.tolist() == [0, 1]
    assert batch.truth.tolist() == [0, 1, 0]
    assert batch.epoch == 1.5
    weak_view = batch.clips[View("unlabelled", "tg", "weak")]
    assert torch.equal(weak_view, machine.normalise(machine.weak(raw["unlabelled"])["tg"]))


def test_a_batch_without_unlabelled_clips_has_no_truth():
    wanted = [View("labelled", "rgb", "weak")]
    batch = make_batch(augmenter(), {"labelled": raw_batch([1]), "unlabelled": None}, wanted, epoch=0.0)
    assert batch.truth is None
    assert list(batch.clips) == wanted


@pytest.mark.parametrize(("height", "width"), [(40, 70), (70, 40), (48, 48)])
def test_three_crops_reach_from_end_to_end(height, width):
    frames = clip(1, height, width)
    found = crops(frames, 32, 3)
    assert found.shape == (3, 4, 3, 32, 32)
    assert torch.equal(found[1], centre(frames, 32))
    long = round(32 * max(height, width) / min(height, width))
    resized = (long, 32) if height > width else (32, long)
    image = Image.fromarray(frames[0].numpy()).resize(resized[::-1], Image.Resampling.BILINEAR)
    whole = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).int()
    assert (found[0, 0].int() - whole[:, :32, :32]).abs().max() <= 2  # torch resizes bytes with 8-bit weights
    assert (found[2, 0].int() - whole[:, -32:, -32:]).abs().max() <= 2


def test_the_centre_crop_of_a_larger_short_side():
    frames = clip(1, 40, 70)
    whole = crops(frames, 40, 1)[0]
    assert torch.equal(centre(frames, 32, short_side=40), whole[..., 4:36, 4:36])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_views_on_a_gpu_are_those_on_the_cpu():
    raw = raw_batch(list(range(12)))
    here = augmenter(operations=2, cutout=0.2)
    there = Augmenter(here.config, "cuda", seed=3)
    weak_here, weak_there = here.weak(raw)["rgb"], there.weak(raw)["rgb"]
    assert weak_there.is_cuda
    assert (weak_here.int() - weak_there.cpu().int()).abs().max() <= 2
    # the same operations on the same bytes: only edges and roundings may differ
    strong_here = strong_rgb(here, weak_here, raw).int()
    strong_there = strong_rgb(there, weak_here.cuda(), raw).cpu().int()
    assert ((strong_here - strong_there).abs() > 2).float().mean() < 0.01
