"""Strange videos: the index and every reader agree on what they hold; docs/datasets.md has the table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.strange_videos import claim_frames, cut, encode, scratch, start_at, told_apart

from ssar.data import reader
from ssar.data.probe import probe
from ssar.data.reader import DecodeError, open_video
from ssar.errors import UserError

COUNT = 45
UNEVEN = np.cumsum([1, 3, 1, 1, 7, 2, 1, 4, 1] * 5).tolist()
OPEN_GROUPS = {"x264-params": "open-gop=1:bframes=2:keyint=10:b-adapt=0:scenecut=0"}
INTERLACED = {"flags": "+qscale+ildct+ilme"}


def installed() -> list[str]:
    """Readers that load here; torchcodec is an extra."""
    found = []
    for name in ("pyav", "decord", "torchcodec"):
        try:
            importlib.import_module(f"ssar.data.backends.{name}")
            found.append(name)
        except (ImportError, OSError, RuntimeError):
            assert name != "pyav"
    return found


READERS = installed()


class Strange(NamedTuple):
    """A video: how it is made from frames, and which of them it then has, or why the index excludes it."""

    suffix: str
    make: Callable[[Path, np.ndarray], Any]
    holds: range | str = range(COUNT)
    size: tuple[int, int] = (64, 96)
    turned: int = 0  # quarter turns, counter-clockwise


def made(*args: Any, **kwargs: Any) -> Callable[[Path, np.ndarray], Any]:
    return lambda path, frames: encode(path, frames, *args, **kwargs)


def old(change: Callable[..., Path], *args: Any) -> Callable[[Path, np.ndarray], Any]:
    return lambda path, frames: change(encode(path, frames, "mpeg4"), *args)


def new(change: Callable[..., Path], *args: Any, layout: str = "", **options: str) -> Callable[[Path, np.ndarray], Any]:
    return lambda path, frames: change(encode(path, frames, options=options, layout=layout), *args)


VIDEOS = {
    # frame counts
    "header states too few frames": Strange(".avi", old(claim_frames, 20)),
    "header states too many frames": Strange(".avi", old(claim_frames, 90)),
    "one frame": Strange(".mp4", lambda path, frames: encode(path, frames[:1]), "too short: 1 frame"),
    # order of frames
    "B-frames, closed groups": Strange(".mp4", made(options={"bf": "2"})),
    "B-frames, closed groups, Matroska": Strange(".mkv", made(options={"bf": "2"})),
    "B-frames, open groups": Strange(".mp4", made("mpeg4", {"bf": "2"})),
    "B-frames, open groups, H.264": Strange(".mp4", made(options=OPEN_GROUPS)),
    "B-frames, open groups, Matroska": Strange(".mkv", made(options=OPEN_GROUPS)),
    "B-frames in AVI": Strange(".avi", made(options={"bf": "2"})),
    "transport stream": Strange(".ts", made(options={"bf": "2"})),
    "program stream": Strange(".mpg", made("mpeg2video", {"bf": "2"} | INTERLACED)),
    "Windows Media": Strange(".wmv", made("wmv2")),
    # times
    "variable frame rate": Strange(".mp4", made(options={"bf": "2"}, times=UNEVEN)),
    "variable frame rate, Matroska": Strange(".mkv", made(times=UNEVEN)),
    "repeated frames in AVI": Strange(".avi", made("mpeg4", times=UNEVEN)),
    "start after 0": Strange(".mp4", made(options={"bf": "2"}, times=range(50, 50 + COUNT))),
    "start after 0, Matroska": Strange(".mkv", made(times=range(50, 50 + COUNT))),
    "edit list": Strange(".mp4", new(start_at, 13), range(13, COUNT)),
    "edit list and B-frames": Strange(".mp4", new(start_at, 13, bf="2"), range(13, COUNT)),
    # other streams
    "sound first": Strange(".mp4", made(tone=("before", 1.0))),
    "sound longer than the video": Strange(".mkv", made(tone=("after", 6.0))),
    "cover picture": Strange(".mp4", made(cover="after")),
    "still picture as first stream": Strange(".mkv", made(cover="before")),
    "title in Latin-1": Strange(".mp4", made(title="Café à la".encode("latin-1"))),
    "title in Latin-1, AVI": Strange(".avi", made("mpeg4", title="Café à la".encode("latin-1"))),
    "fragments": Strange(".mp4", made(options={"bf": "2"}, layout="frag_keyframe+empty_moov")),
    # pictures
    "rotated by 90": Strange(".mp4", made(rotation=90), turned=1),
    "rotated by 180": Strange(".mp4", made(rotation=180), turned=2),
    "rotated by 270": Strange(".mp4", made(rotation=270), turned=3),
    "odd sides": Strange(".mp4", made("mpeg4"), size=(75, 101)),
    "odd sides, 4:4:4": Strange(".mkv", made("ffv1", pixels="yuv444p"), size=(75, 101)),
    "16 pixels wide": Strange(".mp4", made(options={"bf": "2"}), size=(96, 16)),
    "10 bits": Strange(".mp4", made(pixels="yuv420p10le")),
    "4:4:4": Strange(".mp4", made(pixels="yuv444p")),
    "grey": Strange(".mp4", made(pixels="gray")),
    "interlaced": Strange(".avi", made("mpeg4", INTERLACED)),
    "interlaced, H.264": Strange(".mp4", made(options={"x264-params": "tff=1"})),
    # damage
    "fragments that end early": Strange(
        ".mp4", new(cut, 0.6, layout="frag_keyframe+empty_moov"), "decoding fails after"
    ),
    "no index at the end": Strange(".mp4", new(cut, 0.6), "not a readable video"),
    "ends early, AVI": Strange(".avi", old(cut, 0.6), range(20)),
    "ends early, Matroska": Strange(".mkv", new(cut, 0.6), range(25)),
    "ends early, index in front": Strange(".mp4", new(cut, 0.6, layout="faststart"), "decoding fails after"),
    "noise in the middle": Strange(".avi", old(scratch, 0.5), "frames are damaged, the first is frame"),
}


def nearest(image: np.ndarray, frames: np.ndarray) -> int:
    return int(np.abs(frames[:, ::8, ::8].astype(int) - image[::8, ::8]).mean(axis=(1, 2, 3)).argmin())


@pytest.mark.parametrize("name", VIDEOS)
def test_strange(tmp_path: Path, name: str) -> None:
    strange = VIDEOS[name]
    source = told_apart(COUNT, *strange.size)
    path = tmp_path / f"video{strange.suffix}"
    strange.make(path, source)
    found = probe(str(path))
    if isinstance(strange.holds, str):
        assert strange.holds in str(found.problem)
        return
    assert found.problem is None
    assert found.frames == len(strange.holds)
    upright = np.rot90(source, strange.turned, axes=(1, 2))[strange.holds]
    if name == "grey":
        upright = np.repeat((upright @ (0.299, 0.587, 0.114))[..., None], 3, axis=3)
    assert (found.height, found.width) == upright.shape[1:3]
    every = {}
    for backend in READERS:
        video = open_video(path, backend)
        every[backend] = video.frames(range(found.frames)).astype(int)
        assert [nearest(image, upright) for image in every[backend]] == list(range(found.frames))
        with pytest.raises(DecodeError, match="video"):
            video.frames([len(source)])
        video.close()
        rng = np.random.default_rng(0)
        for _ in range(6):
            some = np.sort(rng.choice(found.frames, 4, replace=False))
            video = open_video(path, backend)
            assert np.array_equal(video.frames(some.tolist()), every[backend][some])
            video.close()
        assert np.abs(every[backend] - every["pyav"]).max() <= 2


def test_a_fast_look_counts_the_stored_frames(tmp_path: Path) -> None:
    path = claim_frames(encode(tmp_path / "video.avi", told_apart(12, 32, 48), "mpeg4"), 90)
    found = probe(str(path), fast=True)
    assert (found.frames, found.stated, found.problem) == (12, 90, None)


def test_a_reader_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise RuntimeError(f"{name} finds no FFmpeg")

    path = encode(tmp_path / "video.avi", told_apart(12, 32, 48), "mpeg4")
    monkeypatch.setitem(reader.PACKAGES, "torchcodec", "av")
    monkeypatch.setattr(reader.importlib, "import_module", missing)
    reader._backend.cache_clear()
    try:
        with pytest.raises(UserError, match=r"`torchcodec` is installed but does not load .*finds no FFmpeg"):
            open_video(path, "torchcodec")
    finally:
        reader._backend.cache_clear()
