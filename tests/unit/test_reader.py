"""Frames by number: exact after seeking, equal from all decoders, errors that name the video."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.videos import moving_frames, write_video

from ssar.data.backends.timetable import read_facts
from ssar.data.reader import DecodeError, open_video, scaled_size
from ssar.errors import UserError

INSTALLED = [name for name, package in (("decord", "decord"), ("pyav", "av")) if importlib.util.find_spec(package)]
COUNT = 45
FILES = [("ffv1", ".mkv"), ("mpeg4", ".mp4"), ("mpeg4", ".avi"), ("h264", ".mp4"), ("h264", ".avi"), ("h264", ".mkv")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of every codec and container, with B-frames and several keyframes."""
    folder = tmp_path_factory.mktemp("videos")
    for codec, suffix in FILES:
        write_video(folder / f"{codec}{suffix}", moving_frames(COUNT), codec=codec)
    return folder


def nearest(image: np.ndarray, frames: np.ndarray) -> int:
    return int(np.abs(frames.astype(int) - image).mean(axis=(1, 2, 3)).argmin())


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize(("codec", "suffix"), FILES)
def test_frames_are_the_encoded_ones_in_any_order(folder: Path, codec: str, suffix: str, backend: str) -> None:
    source = moving_frames(COUNT)
    path = folder / f"{codec}{suffix}"
    rng = np.random.default_rng(0)
    for indices in ([12], [COUNT - 1], [33, 4, 33, 20], [0, 8, 16, 24, 32], rng.integers(0, COUNT, 10).tolist()):
        reader = open_video(path, backend)
        found = reader.frames(indices)
        reader.close()
        assert found.shape == (len(indices), *source.shape[1:])
        assert found.dtype == np.uint8
        assert [nearest(image, source) for image in found] == indices
        if codec == "ffv1":
            np.testing.assert_array_equal(found, source[indices])


def test_one_reader_serves_many_requests(folder: Path) -> None:
    for backend in INSTALLED:
        reader = open_video(folder / "mpeg4.mp4", backend)
        every = reader.frames(range(COUNT))
        for indices in ([40, 41], [3], [3, 4], [44, 0]):
            np.testing.assert_array_equal(reader.frames(indices), every[indices])


@pytest.mark.skipif(len(INSTALLED) < 2, reason="decord is not installed")
@pytest.mark.parametrize(("codec", "suffix"), FILES)
def test_decoders_agree(folder: Path, codec: str, suffix: str) -> None:
    path = folder / f"{codec}{suffix}"
    first, second = (open_video(path, backend).frames(range(COUNT)).astype(int) for backend in INSTALLED)
    assert np.abs(first - second).max() <= 2


@pytest.mark.skipif(len(INSTALLED) < 2, reason="decord is not installed")
def test_decoders_agree_at_a_short_side(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(96), np.arange(128)) % 256
    frames = np.repeat(np.stack([np.abs(ramp - 5 * t) for t in range(6)])[..., None], 3, axis=3).astype(np.uint8)
    path = write_video(tmp_path / "smooth.mp4", frames, codec="h264")
    first, second = (open_video(path, backend, 48).frames(range(6)).astype(int) for backend in INSTALLED)
    assert first.shape == second.shape == (6, 48, 64, 3)
    assert np.abs(first - second).mean() < 1


def test_what_containers_say_about_the_order_of_frames(folder: Path) -> None:
    facts = {name: read_facts(str(folder / name)) for name in ("mpeg4.mp4", "h264.mp4", "h264.avi", "ffv1.mkv")}
    assert {name: (item.timed, item.closed) for name, item in facts.items()} == {
        "mpeg4.mp4": (True, False),
        "h264.mp4": (True, True),
        "h264.avi": (False, False),
        "ffv1.mkv": (True, True),
    }


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    for height in (48, 32):
        path = write_video(tmp_path / "a.mp4", moving_frames(3, height, 64), codec="h264")
        assert open_video(path, short_side=16).frames([0]).shape == (1, 16, round(16 * 64 / height / 2) * 2, 3)


@pytest.mark.parametrize("backend", INSTALLED)
@pytest.mark.parametrize("short_side", [None, 24])
def test_rotated_videos_stand_upright(tmp_path: Path, backend: str, short_side: int | None) -> None:
    frames = np.zeros((4, 48, 80, 3), np.uint8)
    frames[:, :, :40] = (200, 30, 30)  # the left half is red
    path = write_video(tmp_path / "turned.mp4", frames, codec="h264", rotation=90)
    image = open_video(path, backend, short_side).frames([2])[0]
    assert image.shape == ((80, 48, 3) if short_side is None else (40, 24, 3))
    top, bottom = np.split(image[..., 0], 2)
    # turning by 90 degrees counter-clockwise brings the left half to the bottom
    assert bottom.mean() > 150
    assert top.mean() < 50


@pytest.mark.parametrize("backend", INSTALLED)
def test_errors_name_the_video(tmp_path: Path, folder: Path, backend: str) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"no video" * 100)
    with pytest.raises(DecodeError, match=r"noise\.mp4 cannot be read"):
        open_video(noise, backend)
    with pytest.raises(DecodeError, match=r"missing\.mp4"):
        open_video(tmp_path / "missing.mp4", backend)
    for name in ("h264.mp4", "h264.avi", "ffv1.mkv"):
        with pytest.raises(DecodeError, match=name):
            open_video(folder / name, backend).frames([0, COUNT])


@pytest.mark.parametrize("backend", INSTALLED)
def test_readers_give_their_memory_back(folder: Path, backend: str) -> None:
    def read(times: int) -> int:
        for _ in range(times):
            for name in ("mpeg4.mp4", "h264.mp4"):
                reader = open_video(folder / name, backend)
                reader.frames([3, 30])
                reader.close()
        return psutil.Process().memory_info().rss

    # an open decoder takes a third of a megabyte at least
    assert read(100) - read(20) < 20e6


def test_what_another_decoder_fails_at_is_read_by_pyav(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "decord" not in INSTALLED:
        pytest.skip("decord is not installed")
    from ssar.data.backends.decord import DecordBackend

    def fail(*_: object) -> np.ndarray:
        raise RuntimeError("no such frame")

    monkeypatch.setattr(DecordBackend, "decode", fail)
    path = folder / "h264.mp4"
    np.testing.assert_array_equal(open_video(path, "decord").frames([7, 4]), open_video(path, "pyav").frames([7, 4]))


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_video_that_goes_away_is_named(tmp_path: Path, backend: str) -> None:
    path = write_video(tmp_path / "away.mp4", moving_frames(COUNT), codec="h264")
    reader = open_video(path, backend)
    path.unlink()
    with pytest.raises(DecodeError, match=r"away\.mp4: frames 0 to 45 do not decode"):
        reader.frames([0, COUNT])
    reader.close()
    reader.close()
    with pytest.raises(DecodeError, match=r"no such video: .*away\.mp4"):
        open_video(path, backend)


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_path_that_the_system_refuses_is_told_with_its_reason(tmp_path: Path, backend: str) -> None:
    with pytest.raises(DecodeError, match=r"n{300}\.mp4 cannot be read as a video: .*File name too long"):
        open_video(tmp_path / ("n" * 300 + ".mp4"), backend)
    with pytest.raises(DecodeError, match="cannot be read as a video"):
        open_video(tmp_path, backend)


def test_pyav_looks_at_a_video_only_where_it_scales(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("ssar.data.reader.read_facts", lambda path: looked.append(path) or read_facts(path))
    path = folder / "h264.mp4"
    open_video(path).close()
    assert looked == []
    open_video(path, short_side=16).close()
    assert looked == [str(path)]


def test_unknown_reader() -> None:
    with pytest.raises(UserError, match="unknown video reader `opencv`"):
        open_video(__file__, "opencv")


def test_scaled_size_is_even_and_keeps_the_aspect_ratio() -> None:
    assert scaled_size(240, 320, 128) == (128, 170)
    assert scaled_size(320, 240, 128) == (170, 128)
    assert scaled_size(37, 37, 15) == (16, 16)


def test_real_videos_decode_alike(real_videos: Path) -> None:
    for path in sorted((real_videos / "clips").iterdir()):
        if path.name == "corrupted.mp4":
            continue
        indices = [2, 0, 1] if "rotated" in path.name else [27, 3, 14, 9]
        for short_side, tolerance in ((None, 0.01), (64, 1.0)):
            found = [open_video(path, backend, short_side).frames(indices).astype(int) for backend in INSTALLED]
            assert np.abs(found[0] - found[-1]).mean() <= tolerance, path
