"""Transcoding: frame i stays frame i whatever the source is like; nothing is lost, done twice or passed in silence."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from av.video.reformatter import ColorRange, Colorspace
from tests.videos import make_folder, moving_frames, write_video

from ssar.config import DatasetConfig, Transcode, canonical
from ssar.cost.plan import requested
from ssar.cost.sizes import dataset_sizes
from ssar.data.backends.timetable import read_facts, read_timetable
from ssar.data.encode import target_size
from ssar.data.layout import lay_out
from ssar.data.probe import probe
from ssar.data.reader import open_video
from ssar.data.transcode import Part, transcode
from ssar.errors import UserError
from ssar.grid import build
from ssar.project import CONFIG
from ssar.targets import Targets

HOW = Transcode(short_side=32, keyframe_interval=5, crf=8)
FRAMES = 23


def folder_of(**options: object) -> DatasetConfig:
    return DatasetConfig(**({"kind": "folder", "root": "unused", "transcode": HOW} | options))  # type: ignore[arg-type]


def run(root: Path, dataset: DatasetConfig | None = None, part: Part | None = None) -> dict:
    """Transcode to `transcoded` beside the root; what the manifest says."""
    out = root.with_name("transcoded.json" if part is None else f"{part}.json")
    transcode(dataset or folder_of(), root, root.with_name("transcoded"), out, 1, part)
    return json.loads(out.read_text())


def files(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Inode, time and content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            hashlib.sha1(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def decoded(path: Path, size: tuple[int, int]) -> np.ndarray:
    """All frames that PyAV puts out, upright and scaled as the encoder does it: float (T, H, W, 3)."""
    images = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            turns = round(frame.rotation / 90) % 4
            height, width = size[:: -1 if turns % 2 else 1]
            image = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
            images.append(np.rot90(image, turns))
    return np.stack(images).astype(float)


# --- sources that are hard to copy frame by frame -------------------------------------------------


def b_frames(path: Path) -> None:
    write_video(path, moving_frames(FRAMES, 48, 64), codec="mpeg4")


def varying_rate(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000, options={"g": "10", "bf": "2", "crf": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number, image in enumerate(moving_frames(FRAMES)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = 40 * number + (900 if number > 7 else 0) + (number % 3) * 11  # a gap and jitter
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def rotated(path: Path) -> None:
    write_video(path, moving_frames(FRAMES, 48, 64), codec="h264", rotation=90)


def odd(path: Path) -> None:
    write_video(path, moving_frames(FRAMES, 45, 71), codec="ffv1")


def small_and_odd(path: Path) -> None:
    write_video(path, moving_frames(FRAMES, 31, 41), codec="ffv1")


def wrong_count(path: Path) -> None:
    """Both headers promise 40 frames."""
    content = bytearray(write_video(path, moving_frames(FRAMES, 48, 64)).read_bytes())
    for name, offset in ((b"avih", 24), (b"strh", 40)):
        place = content.index(name) + offset
        assert content[place : place + 4] == FRAMES.to_bytes(4, "little")
        content[place : place + 4] = (40).to_bytes(4, "little")
    path.write_bytes(content)


def full_range_709(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 2
        for image in moving_frames(FRAMES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            colours = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.JPEG}
            container.mux(stream.encode(frame.reformat(format="yuv420p", **colours)))
        container.mux(stream.encode())


def with_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for image in moving_frames(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        tone = (np.sin(np.arange(16000) * 0.1) * 9000).astype(np.int16)[None]
        samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        samples.sample_rate = 16000
        container.mux(sound.encode(samples))
        container.mux(sound.encode())


@pytest.mark.parametrize(
    ("make", "name", "size"),
    [
        (b_frames, "a.avi", (32, 42)),
        (varying_rate, "a.mkv", (32, 42)),
        (rotated, "a.mov", (42, 32)),
        (odd, "a.mkv", (32, 50)),
        (small_and_odd, "a.mkv", (30, 40)),
        (wrong_count, "a.avi", (32, 42)),
        (full_range_709, "a.mp4", (32, 42)),
        (with_sound, "a.mp4", (32, 42)),
    ],
)
def test_frames_correspond_one_to_one(tmp_path: Path, make: Callable[[Path], None], name: str, size: tuple[int, int]):
    source = tmp_path / "videos" / "run" / name
    source.parent.mkdir(parents=True)
    make(source)
    expected = probe(str(source))
    assert expected.problem is None
    manifest = run(tmp_path / "videos")
    made = str(tmp_path / "transcoded" / "run" / name)
    found = probe(made)
    assert found.problem is None
    assert (found.frames, found.height, found.width) == (expected.frames, *size)
    assert (manifest["videos"], manifest["frames"], manifest["failed"]) == (1, expected.frames, {})

    # the nearest of all frames of the source is the one with the same number
    numbers = range(expected.frames)
    before = decoded(source, size)[: expected.frames]
    for reader in ("pyav", "decord"):
        after = open_video(made, reader).frames(numbers).astype(float)
        apart = np.abs((after[:, None] - before[None]).mean(-1)).mean((2, 3))  # of brightness: colours are subsampled
        assert (apart.argmin(1) == list(numbers)).all()
        assert apart.diagonal().max() < 6

    with av.open(made) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.name == "h264"
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(packet.pts == packet.dts for packet in packets)  # no B-frames
    assert [i for i, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, expected.frames, 5))
    facts = read_facts(made)
    assert (facts.turned, facts.timed, facts.closed) == (False, True, True)
    table = read_timetable(made)
    assert (table.times, table.fresh) == ([packet.pts for packet in packets], True)


def test_colours_of_a_source_with_tags_are_kept(tmp_path: Path):
    source = tmp_path / "videos" / "run" / "a.mp4"
    source.parent.mkdir(parents=True)
    full_range_709(source)
    run(tmp_path / "videos", folder_of(transcode=Transcode(short_side=48, crf=8)))
    for reader in ("pyav", "decord"):
        before, after = (
            open_video(tmp_path / folder / "run" / "a.mp4", reader).frames(range(FRAMES)).astype(float)
            for folder in ("videos", "transcoded")
        )
        # BT.601 instead of BT.709, or another range, would shift the means by 5 to 15
        assert np.abs((after - before).mean((0, 1, 2))).max() < 1.5


@pytest.mark.parametrize(("rotation", "kept"), [(0, Fraction(16, 11)), (90, Fraction(11, 16))])
def test_pixels_keep_their_shape(tmp_path: Path, rotation: int, kept: Fraction):
    source = tmp_path / "videos" / "run" / "a.mp4"
    source.parent.mkdir(parents=True)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        stream.set_display_rotation(rotation)
        for image in moving_frames(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    run(tmp_path / "videos")
    with av.open(str(tmp_path / "transcoded" / "run" / "a.mp4")) as made:
        assert made.streams.video[0].sample_aspect_ratio == kept


def test_target_sizes_are_even_and_never_larger():
    for height, width in ((240, 320), (1080, 1920), (257, 257), (257, 999), (256, 257), (121, 93), (719, 1281)):
        for size in (target_size(height, width, 256), target_size(width, height, 256)[::-1]):
            assert all(side % 2 == 0 for side in size)
            assert size[0] <= height
            assert size[1] <= width
            assert min(size) == min(256, min(height, width) // 2 * 2)
            assert size[1] / size[0] == pytest.approx(width / height, rel=0.02)


# --- a folder of videos ---------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two good videos, a copy of one, and two that do not decode."""
    root = tmp_path / "videos"
    make_folder(root, ["jump", "run"], 2, frames=8)
    shutil.copy(root / "run" / "run_00.mp4", root / "run" / "copy.mp4")
    (root / "run" / "noise.avi").write_bytes(b"noise" * 99)
    (root / "jump" / "empty.mp4").touch()
    return root


def test_broken_sources_are_named_and_the_folder_is_only_read(root: Path):
    before = files(root)
    manifest = run(root)
    assert files(root) == before
    made = files(root.with_name("transcoded"))
    assert list(made) == list(before)
    assert manifest["videos"] == 5
    assert manifest["failed"]["jump/empty.mp4"] == "empty file"
    assert manifest["failed"].keys() == {"jump/empty.mp4", "run/noise.avi"}
    for path, reason in manifest["failed"].items():
        problem = probe(str(root.with_name("transcoded") / path)).problem
        assert problem is not None
        assert reason in problem
    # the index finds duplicates by their bytes, which the encoder alone does not promise to repeat
    assert made["run/copy.mp4"][2] == made["run/run_00.mp4"][2] != made["run/run_01.mp4"][2]
    other = root.with_name("transcoded") / "run" / "run_00.mp4"
    content = bytearray(other.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    run(root)
    again = files(root.with_name("transcoded"))
    assert again["run/copy.mp4"][2] == again["run/run_00.mp4"][2]


def test_only_what_changed_is_done_again(root: Path):
    run(root)
    videos = root.with_name("transcoded")
    first = files(videos)
    (videos / "run" / "run_01.mp4").write_bytes(b"half of a file")
    (videos / "run" / ".run_00-abcd1234.mp4").touch()
    write_video(root / "jump" / "jump_00.mp4", moving_frames(6, seed=99))
    write_video(root / "run" / "noise.avi", moving_frames(6, seed=98))
    (root / "run" / "copy.mp4").unlink()
    manifest = run(root)
    second = files(videos)
    changed = {path for path in first if second.get(path) != first[path]}
    assert changed == {"run/run_01.mp4", "jump/jump_00.mp4", "run/noise.avi", "run/copy.mp4"}
    assert second.keys() == files(root).keys()
    frames = {path: probe(str(videos / path)).frames for path in ("run/run_01.mp4", "jump/jump_00.mp4")}
    assert frames == {"run/run_01.mp4": 8, "jump/jump_00.mp4": 6}
    assert manifest["failed"].keys() == {"jump/empty.mp4"}
    run(root)
    assert files(videos) == second
    run(root, folder_of(transcode=Transcode(short_side=16)))
    assert not files(videos).items() & (second.items() - {("jump/empty.mp4", second["jump/empty.mp4"])})


def test_parts_make_what_one_job_merges(root: Path):
    parts = [run(root, part=Part(number, 3)) for number in (1, 2, 3)]
    made = files(root.with_name("transcoded"))
    assert made.keys() == files(root).keys()
    manifest = run(root)
    assert files(root.with_name("transcoded")) == made  # merged, nothing done again
    assert manifest["videos"] == sum(part["videos"] for part in parts) == 5
    for number in (0, 4):
        with pytest.raises(UserError, match="no part"):
            run(root, part=Part(number, 3))


def command(root: Path) -> list[str]:
    cli = Path(__file__).parents[2] / "workflow" / "cli.py"
    places = {"root": root, "videos": root.with_name("transcoded"), "out": root.with_name("transcoded.json")}
    options = [text for name, path in places.items() for text in (f"--{name}", str(path))]
    return [sys.executable, str(cli), "transcode", "--config", canonical(folder_of()), *options]


def test_a_killed_call_is_continued(tmp_path: Path):
    root = tmp_path / "videos"
    make_folder(root, 2, 8, frames=60, size=(96, 128))
    memory, videos = tmp_path / "transcode" / "all.jsonl", tmp_path / "transcoded"

    def done() -> int:
        return memory.read_bytes().count(b"\n") if memory.exists() else 0

    for _ in range(5):
        with subprocess.Popen(command(root), start_new_session=True, stderr=subprocess.DEVNULL) as call:
            while done() < 3 and call.poll() is None:
                time.sleep(0.01)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(call.pid, signal.SIGKILL)
        assert done() >= 3
        if not (tmp_path / "transcoded.json").exists():
            break
        for path in (memory.parent, videos):  # it was faster: once more from the beginning
            shutil.rmtree(path)
        (tmp_path / "transcoded.json").unlink()
    assert not (tmp_path / "transcoded.json").exists()
    with memory.open("a") as file:
        file.write('{"path": "class1/class1_0')  # as if killed while writing
    kept = {json.loads(line)["path"] for line in memory.read_text().splitlines()[:-1]}
    before = files(videos)
    assert 3 <= len(kept) < 16
    assert run(root)["videos"] == 16
    after = files(videos)
    assert after.keys() == files(root).keys()  # no temporary file is left
    assert all(after[path] == before[path] for path in kept)
    assert all(probe(str(videos / path)).frames == 60 for path in after)


def test_a_full_disk_ends_the_call_with_what_was_done(tmp_path: Path):
    root = tmp_path / "videos"
    make_folder(root, ["run"], 1, frames=6)
    write_video(root / "run" / "z_large.avi", moving_frames(80, 240, 320), codec="ffv1")
    limited = ["prlimit", "--fsize=30000"] if shutil.which("prlimit") else pytest.skip("no prlimit")
    done = subprocess.run([*limited, *command(root)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(files(tmp_path / "transcoded")) == ["run/run_00.mp4"]
    assert run(root)["videos"] == 2


def test_only_videos_of_the_dataset_are_transcoded(root: Path):
    table = root / "some.csv"
    table.write_text("path,label\nrun/run_01.mp4,run\njump/jump_00.mp4,jump\n")
    dataset = folder_of(csv=str(table), root=str(root))
    videos = root / "made" / "transcoded"  # beside the csv, as `results` may be
    transcode(dataset, root, videos, root / "made" / "transcoded.json", 1)
    assert sorted(files(videos)) == ["jump/jump_00.mp4", "run/run_01.mp4"]
    assert [video.path for video in lay_out(dataset, videos).candidates] == ["run/run_01.mp4", "jump/jump_00.mp4"]


def test_a_video_that_hangs_is_passed_over_and_tried_again(tmp_path: Path):
    root = tmp_path / "videos"
    make_folder(root, ["run"], 1, frames=300, size=(240, 320))
    out = root.with_name("transcoded.json")
    with pytest.raises(UserError, match="hangs"):  # of a second's work with a sign of life every 50 frames
        transcode(folder_of(), root, root.with_name("transcoded"), out, 1, silent_seconds=0.01)
    problem = probe(str(root.with_name("transcoded") / "run" / "run_00.mp4")).problem
    assert problem is not None
    assert "hangs" in problem
    assert run(root)["videos"] == 1


def test_mistakes_are_told(root: Path):
    with pytest.raises(UserError, match="no `transcode`"):
        run(root, folder_of(transcode=None))
    with pytest.raises(UserError, match="only read"):
        transcode(folder_of(), root, root / "transcoded", root / "out.json", 1)
    other = root.with_name("mine")
    other.mkdir()
    (other / "letter.txt").touch()
    with pytest.raises(UserError, match="another folder"):
        transcode(folder_of(), root, other, root.with_name("out.json"), 1)
    assert (other / "letter.txt").exists()
    for path in (path for path in files(root) if path.endswith(".mp4")):
        (root / path).write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of 7 videos"):
        run(root)


# --- the plan -------------------------------------------------------------------------------------


def planned(folder: Path, **synthact: object) -> Targets:
    """The demo with changes of its dataset."""
    own = folder / "own.yaml"
    own.write_text(yaml.safe_dump({"results": str(folder / "results"), "datasets": {"synthact": synthact}}))
    return Targets(build([CONFIG / "config.yaml", CONFIG / "demo.yaml", own]))


def test_a_transcoded_dataset_is_another_one_and_is_made_before_its_index(tmp_path: Path):
    plain, other, same = (
        planned(tmp_path, **options)
        for options in ({}, {"transcode": {"short_side": 60}}, {"transcode": {"short_side": 60}, "transcode_jobs": 3})
    )
    assert not plain.grid.runs.keys() & other.grid.runs.keys()
    assert other.grid.runs.keys() == same.grid.runs.keys()
    data = tmp_path / "results" / "data" / "synthact"
    assert (plain.video_root("synthact"), plain.generated("synthact")) == (f"{data}/videos", [f"{data}/meta.csv"])
    assert other.generated("synthact") == [f"{data}/transcoded.json"]
    assert (other.source_root("synthact"), other.video_root("synthact")) == (f"{data}/videos", f"{data}/transcoded")
    assert (other.transcode_parts("synthact"), len(same.transcode_parts("synthact"))) == ([], 3)
    # how many jobs do it makes nothing anew, and no source is made anew for it
    assert other.index_options("synthact") == same.index_options("synthact") != plain.index_options("synthact")
    assert other.synthact_json("synthact") == plain.synthact_json("synthact")

    jobs = requested(other, ["tables/ltg/table1.tex"]).jobs
    assert jobs[f"{data}/index.csv"].needs == (f"{data}/transcoded.json",)
    assert f"{data}/transcoded.json" not in requested(plain, ["tables/ltg/table1.tex"]).jobs
    sizes = dataset_sizes(plain, "synthact"), dataset_sizes(other, "synthact")
    assert [(size.width, size.height) for size in sizes] == [(160, 120), (80, 60)]
