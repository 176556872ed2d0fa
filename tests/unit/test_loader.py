"""Training clips as pure functions of the seed: any workers, any devices, any start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.videos import make_folder

from ssar.config import ClipConfig, RunConfig, TemporalGradient, parse_run
from ssar.data.cache import FrameCache
from ssar.data.clips import ClipDecoder
from ssar.data.loader import ClipLoader, RawBatch, Stream, precise_bn_batches, training_batches
from ssar.data.reader import open_video
from ssar.data.split import Split, Video
from ssar.errors import UserError
from ssar.methods.options import Window
from ssar.runtime import Runtime

CLIP = ClipConfig(frames=4, stride=2)


def videos(count: int, frames: int = 12) -> list[Video]:
    return [Video(f"class/video{number}.mp4", number % 3, frames) for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven videos of two classes and 12 frames."""
    root = tmp_path_factory.mktemp("videos")
    paths = make_folder(root, classes=["a", "b"], per_class=3, frames=12)
    return root, [Video(path, int(path.startswith("b")), 12) for path in paths]


def loader(folder, workers: int = 0, seed: int = 5, **decoder) -> ClipLoader:
    root, found = folder
    streams = (Stream("labelled", found[::3], 2, seed), Stream("unlabelled", found, 3, seed))
    return ClipLoader(ClipDecoder(root, **decoder), streams, CLIP, Runtime(workers=workers, watchdog_seconds=60))


def flat(batches) -> list[tuple]:
    """Everything that a batch holds, as comparable values."""
    return [
        (name, *(getattr(batch, key).tolist() for key in ("label", "video", "seed")), digests(batch))
        for streams in batches
        for name, batch in streams.items()
    ]


def digests(batch: RawBatch) -> list[bytes]:
    return [clip.numpy().tobytes() for clips in (batch.frames, batch.tg) if clips is not None for clip in clips]


def test_the_data_does_not_depend_on_the_workers(folder):
    wanted = flat(loader(folder, tg=TemporalGradient()).batches(range(3)))
    for workers in (1, 2):
        assert flat(loader(folder, workers, tg=TemporalGradient()).batches(range(3))) == wanted


def test_the_data_starts_at_any_step(folder):
    whole = flat(loader(folder).batches(range(5), accumulation=2))
    assert flat(loader(folder).batches(range(3, 5), accumulation=2)) == whole[-8:]


def test_two_devices_share_what_one_accumulates(folder):
    one = flat(loader(folder).batches(range(3), accumulation=4))
    two = [flat(loader(folder).batches(range(3), accumulation=2, devices=2, rank=rank)) for rank in (0, 1)]
    # two streams a micro-batch; the devices take turns
    turns = zip(*(list(zip(part[::2], part[1::2], strict=True)) for part in two), strict=True)
    assert [stream for pair in turns for micro in pair for stream in micro] == one


@pytest.mark.parametrize("megabytes", [0.2, 100])
@pytest.mark.parametrize("tg", [None, TemporalGradient(interval=2)])
def test_a_cache_of_decoded_videos_changes_nothing(folder, megabytes, tg):
    wanted = flat(loader(folder, tg=tg).batches(range(6)))
    cache = FrameCache(int(megabytes * 2**20))
    assert flat(loader(folder, tg=tg, cache=cache).batches(range(6))) == wanted
    assert 0 < len(cache.videos) <= 6
    assert cache.used == sum(frames.nbytes for frames in cache.videos.values()) <= cache.bytes
    assert (len(cache.videos) == 6) == (megabytes == 100)
    assert flat(loader(folder, workers=1, tg=tg, cache=cache).batches(range(6))) == wanted


def test_a_cache_reads_whole_videos_only_while_they_fit():
    asked: list[int] = []
    frames = {side: np.random.default_rng(side).integers(0, 256, (10, side, side, 3), np.uint8) for side in (1, 4, 9)}

    def video(side: int) -> Callable[[np.ndarray], np.ndarray]:
        def read(indices: np.ndarray) -> np.ndarray:
            asked.append(len(indices))
            return frames[side][indices]

        return read

    cache, indices = FrameCache(700), np.array([7, 3, 3, 0])
    for name in ("a", "a", "b"):
        assert (cache.frames((name, "rgb"), indices, 10, video(4)) == frames[4][indices]).all()
    assert asked == [1, 10, 4]  # the second does not fit any more
    cache, asked[:] = FrameCache(2000), []
    cache.frames(("small", "rgb"), indices, 10, video(1))
    cache.frames(("large", "rgb"), indices, 10, video(9))  # likely to fit by its length
    assert asked == [1, 10, 1, 4]
    assert (list(cache.videos), cache.used) == ([("small", "rgb")], 30)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 3), st.integers(0, 2**40))
def test_every_pass_holds_every_video_once_in_a_new_order(count, turn, seed):
    stream = Stream("labelled", videos(count), 4, seed)
    passes = [[stream.sample(t * count + p, CLIP, 0) for p in range(count)] for t in (turn, turn + 1)]
    for samples in passes:
        assert Counter(sample.number for sample in samples) == Counter(range(count))
        assert all(sample.video == stream.videos[sample.number].path for sample in samples)
    if count > 8:
        assert [s.number for s in passes[0]] != [s.number for s in passes[1]]
        assert [s.seed for s in passes[0]] != [s.seed for s in passes[1]]


def test_streams_and_seeds_draw_differently():
    found = videos(30)

    def draw(name: str, seed: int) -> list[int]:
        return [Stream(name, found, 1, seed).sample(position, CLIP, 0).number for position in range(30)]

    draws = [draw("labelled", 0), draw("unlabelled", 0), draw("precise_bn", 0), draw("labelled", 1)]
    assert len({tuple(numbers) for numbers in draws}) == 4


def test_a_clip_is_what_its_task_says(folder):
    root, found = folder
    tg = TemporalGradient(interval=2)
    machine = loader(folder, tg=tg)
    stream = machine.streams[1]
    batch = next(machine.batches(range(1)))["unlabelled"]
    for position in range(3):
        task = stream.sample(position, CLIP, lookahead=2)
        assert task.indices.max() <= 12 - 1 - 2
        reader = open_video(root / task.video)
        assert (batch.frames[position].numpy() == reader.frames(task.indices.tolist())).all()
        later = reader.frames((task.indices + 2).tolist()).astype(int)
        assert (batch.tg[position].numpy() == (batch.frames[position].numpy() - later + 255) // 2).all()
        assert batch.label[position] == found[task.number].label
        assert batch.video[position] == task.number
        assert batch.seed[position] == task.seed


@pytest.mark.parametrize(
    ("rgb", "tg", "keys"), [(True, None, (True, False)), (False, TemporalGradient(), (False, True))]
)
def test_only_what_is_asked_for_is_decoded(folder, rgb, tg, keys):
    batch = next(loader(folder, rgb=rgb, tg=tg).batches(range(1)))["labelled"]
    assert (batch.frames is not None, batch.tg is not None) == keys


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_video_is_named(folder, tmp_path, workers):
    root, found = folder
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((root / found[0].path).read_bytes()[:300])
    machine = loader((tmp_path, [Video("broken.mp4", 0, 12)]), workers)
    with pytest.raises(UserError, match=r"broken\.mp4"):
        list(machine.batches(range(1)))


def test_videos_without_a_gradient_are_listed_before_anything_is_decoded(tmp_path):
    with pytest.raises(UserError, match=r"(?s)at least 8 frames.*video0.mp4: 7 frames.*video1.mp4: 7 frames"):
        loader((tmp_path, videos(4, frames=7)), tg=TemporalGradient(interval=7))


def test_a_stream_without_videos_is_refused(tmp_path):
    with pytest.raises(UserError, match="no labelled videos"):
        loader((tmp_path, []))


def run_config(method: str, **options) -> RunConfig:
    values = {
        "method": method,
        "version": 1,
        "dataset": "folder",
        "data": {},
        "labels": {"protocol": "all"},
        "clip": CLIP.model_dump(),
        "optim": {"lr": 0.1},
        "train": {"steps": 3, "labelled": 2, "unlabelled": 3},
        "options": options,
    }
    return parse_run(json.dumps(values))


def small_split(found: list[Video]) -> Split:
    columns = {"labelled": [int(i % 3 == 0) for i in range(len(found))], "unlabelled": 1, "test": 0}
    return Split(pd.DataFrame(found).assign(**{"class": [video.path[0] for video in found]}, **columns))


@pytest.mark.parametrize(
    ("method", "options", "modalities", "unlabelled"),
    [
        ("supervised", {"modality": "tg"}, {"tg"}, False),
        ("fixmatch", {"threshold": 0.3}, {"frames"}, True),
        ("ltg", {"threshold": 0.3, "w_fm": 0.5, "w_kd": 1, "w_clr": 1}, {"frames", "tg"}, True),
    ],
)
def test_a_run_decodes_what_its_method_reads(folder, method, options, modalities, unlabelled):
    root, found = folder
    config, runtime = run_config(method, **options), Runtime(workers=0, watchdog_seconds=60)
    micros = list(training_batches(config, small_split(found), root, None, runtime, steps=range(2), accumulation=2))
    assert len(micros) == 4
    for streams in micros:
        assert set(streams) == {"labelled", "unlabelled"}
        assert (streams["unlabelled"] is not None) == unlabelled
        for batch, size in ((streams["labelled"], 2), (streams["unlabelled"], 3)):
            if batch is not None:
                assert {name for name in ("frames", "tg") if getattr(batch, name) is not None} == modalities
                assert len(batch.label) == size


def test_precise_bn_reads_all_training_videos_as_the_evaluated_network_does(folder):
    root, found = folder
    config = run_config("ltg", threshold=0.3, w_fm=0.5, w_kd=1, w_clr=1)
    batches = list(
        precise_bn_batches(config, small_split(found), root, None, Runtime(workers=0), modality="rgb", count=2)
    )
    assert all(batch.tg is None and len(batch.frames) == 3 for batch in batches)
    assert sorted(number for batch in batches for number in batch.video.tolist()) == list(range(6))


def test_windows_are_decoded_together_and_told_apart(folder):
    root, found = folder
    windows = (Window("long", 3, 2, shift=0), Window("free", 2, 1))
    stream = Stream("unlabelled", found, 2, 5, windows)
    machine = ClipLoader(ClipDecoder(root), (stream,), CLIP, Runtime(workers=0, watchdog_seconds=60))
    batch = next(machine.batches(range(1)))["unlabelled"]
    assert batch.windows == {"main": CLIP.frames, "long": 3, "free": 2}
    assert batch.frames is not None
    assert all(len(frames) == CLIP.frames + 5 for frames in batch.frames)
    task = stream.sample(0, CLIP, 0)
    reader = open_video(root / task.video)
    assert batch.frames[0].numpy().tobytes() == reader.frames(task.indices.tolist()).tobytes()


def test_a_stream_may_have_a_folder_of_its_own(folder, tmp_path):
    root, found = folder
    streams = (Stream("labelled", found, 1, 5), Stream("unlabelled", found, 1, 5, root=root))
    empty = ClipLoader(ClipDecoder(tmp_path), streams, CLIP, Runtime(workers=0, watchdog_seconds=60))
    with pytest.raises(UserError, match="no such video"):
        next(empty.batches(range(1)))
    own = ClipLoader(ClipDecoder(tmp_path), streams[1:], CLIP, Runtime(workers=0, watchdog_seconds=60))
    assert next(own.batches(range(1)))["unlabelled"].frames is not None


def test_workers_share_what_is_imported(tmp_path, root):
    (tmp_path / "place.py").write_text(
        "import os\n"
        "from typing import NamedTuple\n"
        "IMPORTED_BY = os.getpid()\n"
        "class Item(NamedTuple):\n"
        "    video: str\n"
        "class Work:\n"
        "    def __call__(self, item):\n"
        "        return IMPORTED_BY != os.getpid()\n"
    )
    (tmp_path / "main.py").write_text(
        f"import sys\nsys.path.insert(0, {str(root / 'workflow')!r})\n"
        "from place import Item, Work\n"
        "from ssar.data.workers import in_order\n"
        "if __name__ == '__main__':\n"
        "    print([shared for _, shared in in_order(Work(), [Item('a')] * 4, workers=2, seconds=60)])\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "[True, True, True, True]\n"
