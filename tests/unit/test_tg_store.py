"""The store of temporal gradients: what is read back, and what is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.videos import make_folder, moving_frames, write_video

from ssar.augment import Augmenter
from ssar.config import Augment, DatasetConfig, TemporalGradient, WeakAugment
from ssar.data.cache import FrameCache
from ssar.data.clips import ClipDecoder, ClipTask
from ssar.data.loader import RawBatch
from ssar.data.reader import open_video
from ssar.data.temporal_gradient import temporal_gradient
from ssar.data.tg_codec import CODECS
from ssar.data.tg_store import TGStore, extract, video_file
from ssar.errors import UserError
from ssar.files import sha1
from ssar.runtime import Runtime

FRAMES = 70  # more than one chunk of the extraction
SHORT = "class0/short.mp4"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos and their index: two of 70 frames and one of 4."""
    root = tmp_path_factory.mktemp("dataset")
    paths = make_folder(root / "videos", classes=1, per_class=2, frames=FRAMES)
    write_video(root / "videos" / SHORT, moving_frames(4))
    write_index(root, {**dict.fromkeys(paths, FRAMES), SHORT: 4})
    return root, paths


def write_index(root, frames: dict[str, int]) -> None:
    rows = [{"path": path, "frames": count, "sha1": sha1(root / "videos" / path)} for path, count in frames.items()]
    pd.DataFrame(rows).to_csv(root / "index.csv", index=False)


def make_store(root, out, interval: int = 1, codec: str = "webp", jobs: int = 0, **options) -> TGStore:
    dataset = DatasetConfig(kind="folder", root="anywhere", tg_codec=codec, **options)
    tg = TemporalGradient(interval=interval)
    extract(dataset, tg, root / "index.csv", root / "videos", out / "store.json", jobs, Runtime(watchdog_seconds=60))
    return TGStore(out / "store.json")


@pytest.fixture(scope="module", params=[(1, "webp"), (7, "zlib")], ids=["fast", "slow"])
def store(request, videos, tmp_path_factory):
    interval, codec = request.param
    return make_store(videos[0], tmp_path_factory.mktemp("store"), interval, codec)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, FRAMES - 8), min_size=4, max_size=4), st.integers(0, 2**40))
def test_stored_and_online_gradients_are_equal_after_the_same_crop_and_flip(videos, store, indices, seed):
    root, paths = videos
    tg = TemporalGradient(interval=store.settings.interval)
    augmenter = Augmenter(Augment(weak=WeakAugment(short_side=40, size=32)))
    views = []
    for source in (store, None):
        clip = ClipDecoder(root / "videos", tg=tg, store=source)(ClipTask(paths[1], np.array(indices)))
        raw = RawBatch([clip.frames], [clip.tg], *(torch.tensor([value]) for value in (0, 0, seed)))
        views.append(augmenter.weak(raw))
    assert torch.equal(views[0]["tg"], views[1]["tg"])
    assert torch.equal(views[0]["rgb"], views[1]["rgb"])


def test_the_last_frames_have_no_gradient(videos, store):
    last = FRAMES - store.settings.interval - 1
    assert store.frames(videos[1][0], [last]).shape == (1, 48, 64, 3)
    with pytest.raises(UserError, match=f"0 to {last}, asked for {last} to {last + 1}"):
        store.frames(videos[1][0], [last, last + 1])


def test_gradients_alone_need_no_video(videos, store, tmp_path):
    decoder = ClipDecoder(tmp_path, rgb=False, tg=TemporalGradient(interval=store.settings.interval), store=store)
    clip = decoder(ClipTask(videos[1][0], np.array([3, 1, 3])))
    assert clip.frames is None
    assert torch.equal(clip.tg, torch.from_numpy(store.frames(videos[1][0], [3, 1, 3])))


def test_videos_of_another_dataset_are_not_looked_for_in_the_store(videos, store, tmp_path):
    root, paths = videos
    other = write_video(tmp_path / paths[0], moving_frames(FRAMES, seed=77), codec="h264")
    tg, indices = TemporalGradient(interval=store.settings.interval), np.array([3, 1, 3])
    for cache in (None, FrameCache(2**24)):
        decoder = ClipDecoder(root / "videos", tg=tg, store=store, cache=cache)
        own = decoder(ClipTask(paths[0], indices, length=FRAMES))
        assert torch.equal(own.tg, torch.from_numpy(store.frames(paths[0], indices)))
        found = decoder(ClipTask(paths[0], indices, length=FRAMES, root=tmp_path))
        frames = open_video(other).frames(range(FRAMES))
        wanted = temporal_gradient(frames[indices], frames[indices + tg.interval])
        assert torch.equal(found.tg, torch.from_numpy(wanted))


def test_the_manifest_counts_what_is_there(videos, store):
    manifest = json.loads((store.folder / "store.json").read_text())
    interval = store.settings.interval
    assert manifest["videos"] == 3
    assert manifest["frames"] == 2 * (FRAMES - interval) + max(4 - interval, 0)
    files = [video_file(store.folder, path) for path in (*videos[1], SHORT)]
    assert manifest["bytes"] == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("name", CODECS)
def test_codecs_give_frames_back(name):
    frame = moving_frames(1, height=41, width=63)[0]
    codec = CODECS[name]
    if name == "jpeg":
        frame = frame[..., :1].repeat(3, axis=2)  # its halved chroma does these saturated blocks no good
    error = np.abs(codec.decode(codec.encode(frame), 41, 63).astype(int) - frame)
    assert error.mean() < 2 if name == "jpeg" else not error.any()


def test_an_interrupted_extraction_continues_and_new_settings_start_over(videos, tmp_path):
    root, paths = videos
    store = make_store(root, tmp_path)
    first, second = (video_file(store.folder, path) for path in paths)
    os.utime(first, (1, 1))
    second.write_bytes(second.read_bytes()[:-10])  # as a crash might leave it
    (tmp_path / "store.json").unlink()
    make_store(root, tmp_path, jobs=2)
    assert first.stat().st_mtime == 1
    afresh = make_store(root, tmp_path / "afresh")
    assert (store.frames(paths[1], [FRAMES - 2]) == afresh.frames(paths[1], [FRAMES - 2])).all()
    make_store(root, tmp_path, codec="zlib")
    assert first.stat().st_mtime > 1
    assert TGStore(tmp_path).settings.codec == "zlib"


def test_a_changed_video_is_extracted_again(videos, tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", moving_frames(9, seed=1))
    write_index(tmp_path, {"a.mp4": 9})
    before = make_store(tmp_path, tmp_path / "store").frames("a.mp4", [2])
    write_video(tmp_path / "videos" / "a.mp4", moving_frames(9, seed=2))
    write_index(tmp_path, {"a.mp4": 9})
    assert (make_store(tmp_path, tmp_path / "store").frames("a.mp4", [2]) != before).any()


def test_gradients_are_those_of_frames_at_the_decoding_size(videos, tmp_path):
    root, paths = videos
    store = make_store(root, tmp_path, decode_short_side=24)
    online = ClipDecoder(root / "videos", short_side=24, rgb=False, tg=TemporalGradient())
    wanted = online(ClipTask(paths[0], np.array([5, 20])))
    assert wanted.tg.shape == (2, 24, 32, 3)
    assert torch.equal(torch.from_numpy(store.frames(paths[0], [5, 20])), wanted.tg)


def test_all_broken_videos_are_listed(videos, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"no video")
    write_index(tmp_path, {"a.mp4": 9, "b.mp4": 9})
    with pytest.raises(UserError, match=r"(?s)2 of 2 videos.*a\.mp4.*b\.mp4"):
        make_store(tmp_path, tmp_path / "store")
    assert not (tmp_path / "store" / "store.json").exists()


def test_a_store_of_other_gradients_is_refused(store):
    interval, codec = store.settings.interval, store.settings.codec
    store.check(TemporalGradient(interval=interval), codec, None)
    with pytest.raises(UserError, match=r"(?s)interval is .*sign is .*codec is .*short_side is None, the run wants 24"):
        store.check(TemporalGradient(interval=3, sign="x_t+n - x_t"), "jpeg", 24)


def test_an_unfinished_store_is_refused(tmp_path):
    with pytest.raises(UserError, match="not the manifest of a finished store"):
        TGStore(tmp_path)


def test_a_missing_or_damaged_file_is_named(videos, tmp_path):
    store = make_store(videos[0], tmp_path)
    with pytest.raises(UserError, match=r"class9/none\.mp4"):
        store.frames("class9/none.mp4", [0])
    file = video_file(store.folder, videos[1][0])
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"class0_00\.mp4.*extract them anew"):
        store.frames(videos[1][0], [0])
