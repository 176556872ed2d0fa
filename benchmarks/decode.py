"""Which decoder reads clips fastest, whether all return the same frames, and whether their memory grows.

    python benchmarks/decode.py [FILE or FOLDER ...] [--clips 2000] [--rounds 3]

Clips of 8 frames at stride 8, at random places, as a training reads them (`ssar.data.clips`): RGB alone, and RGB with
temporal gradients. Without arguments on generated videos: 320x240 MPEG-4 as in UCF-101, 340x256 H.264 as of transcoded
Kinetics, and 1280x720 H.264. Speeds are per second of processor time, the best of each reader's rounds, and their
ratios are against PyAV, which reads every file on every platform. `own` is the share of files that the reader reads
itself; what it would get wrong is left to PyAV (docs/datasets.md). Memory is that of a fresh process, after its
hundredth clip and at the end of `--clips` of them, each of another small file; the aim is a growth below 50 MB over
20,000. torchcodec is an extra: where it is not installed, the other two are compared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import av
import numpy as np
import psutil
from tests.videos import moving_frames, write_video

from ssar.config import ClipConfig, TemporalGradient
from ssar.data.clips import ClipDecoder, ClipTask
from ssar.data.loader import Stream
from ssar.data.probe import probe
from ssar.data.reader import BACKENDS, open_video
from ssar.data.reader import Video as OpenVideo
from ssar.data.split import Video
from ssar.errors import UserError

REFERENCE = "pyav"
SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
CLIP = ClipConfig()
WARM, GROWTH = 100, 50.0
MADE = {
    "320x240 mpeg4": ("made.avi", "mpeg4", 320, 240, {"g": "12", "b": "500k"}),
    "340x256 h264": ("made.mp4", "libx264", 340, 256, {"crf": "23", "preset": "veryfast"}),
    "1280x720 h264": ("large.mp4", "libx264", 1280, 720, {"crf": "23", "preset": "veryfast"}),
}


# --- files ------------------------------------------------------------------------------------------


def synthesise(folder: Path, frames: int = 200) -> dict[str, list[Path]]:
    """A video of each kind, of a texture that moves under a little noise."""
    kinds = {}
    for kind, (name, codec, width, height, options) in MADE.items():
        texture = moving_frames(1, height, width)[0].astype(np.int16)
        rng = np.random.default_rng(0)
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(frames):
                noise = rng.integers(-4, 5, (height, width, 1), np.int16)
                image = np.clip(np.roll(texture, 3 * number, axis=1) + noise, 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        kinds[kind] = [folder / name]
    return kinds


def videos_of(folder: Path, most: int) -> list[Path]:
    """The videos of a folder, at most so many, spread over them."""
    return spread(sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES), most)


def spread(files: list[Path], most: int) -> list[Path]:
    """At most so many of the files, at even distances."""
    return [files[i] for i in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int))] if files else []


def sorted_by_kind(given: list[Path], most: int) -> dict[str, list[Path]]:
    """The user's files by size and codec, at most so many of a kind, spread over them."""
    kinds = defaultdict(list)
    for path in given:
        inside = (
            sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        )
        for file in inside:
            try:
                with av.open(str(file)) as container:
                    codec = container.streams.best("video").codec_context
                    kinds[f"{codec.width}x{codec.height} {codec.name}"].append(file)
            except (av.FFmpegError, AttributeError) as error:
                print(f"{file} is left out: {error}")
    return {kind: spread(files, most) for kind, files in sorted(kinds.items(), key=lambda item: -len(item[1]))}


def usable(files: list[Path]) -> list[Video]:
    """Those that the index would take, with the frames that decode."""
    found = [(path, probe(str(path))) for path in files]
    for path, result in found:
        if result.problem:
            print(f"{path} is left out: {result.problem}")
    return [Video(str(path), 0, result.frames) for path, result in found if not result.problem]


def readers() -> list[str]:
    """Those that load here, the reference first."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        path = write_video(Path(scratch) / "a.mp4", moving_frames(4), codec="h264")
        for name in (REFERENCE, *sorted(set(BACKENDS) - {REFERENCE})):
            try:
                open_video(path, name).close()
                found.append(name)
            except UserError as error:
                print(f"{name} is left out: {error}")
    return found


# --- speed and sameness -----------------------------------------------------------------------------


def compare(kind: str, videos: list[Video], names: list[str], clips: int, rounds: int) -> None:
    """Print the clips per second and core of every reader, for RGB and for RGB with gradients."""
    for what, tg in (("RGB", None), ("RGB and gradients", TemporalGradient())):
        stream = Stream("labelled", [video for video in videos if video.frames > 1], 1, seed=0)
        tasks = [stream.sample(position, CLIP, tg.interval if tg else 0) for position in range(clips)]
        best = dict.fromkeys(names, 0.0)
        for _ in range(rounds):
            for name in names:
                best[name] = max(best[name], speed(ClipDecoder(Path("/"), name, tg=tg), tasks))
        fastest = max(best, key=best.__getitem__)
        for name, value in best.items():
            mark = "  <- fastest" if name == fastest else ""
            own = np.mean([reads_itself(video.path, name) for video in videos])
            ratio = value / best[REFERENCE]
            print(
                f"{kind:16} {what:18} {name:11} {value:8.1f}/s per core {ratio:6.2f} own {own:4.0%}{mark}", flush=True
            )


def speed(decoder: ClipDecoder, tasks: list[ClipTask]) -> float:
    """Clips per second of processor time, after one that is not counted."""
    decoder(tasks[0])
    start = time.process_time()
    for task in tasks:
        decoder(task)
    return len(tasks) / (time.process_time() - start)


def reads_itself(path: str, name: str) -> bool:
    """Whether a file is not left to PyAV."""
    video: OpenVideo = open_video(path, name)
    own = type(video.backend).__name__ == BACKENDS[name]
    video.close()
    return own


def same(videos: list[Video], names: list[str]) -> tuple[int, float]:
    """The largest and the mean difference (of 255) between any reader's frames and the reference's."""
    largest, sums, rng = 0, [], np.random.default_rng(0)
    for video in videos:
        indices = rng.integers(0, video.frames, 12).tolist()
        wanted, *others = (open_video(video.path, name).frames(indices).astype(np.int16) for name in names)
        for found in others:
            difference = np.abs(found - wanted)
            largest = max(largest, int(difference.max()))
            sums.append(float(difference.mean()))
    return largest, float(np.mean(sums)) if sums else 0.0


# --- memory -----------------------------------------------------------------------------------------


def synthesise_small(folder: Path, clips: int) -> list[Video]:
    """A video of its own for each clip: eight files under many names, of both codecs."""
    made = []
    for number in range(8):
        frames = moving_frames(24, 48, 64, seed=number)
        suffix, codec = ((".avi", "mpeg4"), (".mp4", "h264"))[number % 2]
        made.append(write_video(folder / f"made{number}{suffix}", frames, codec=codec))
    for number in range(clips):
        name = made[number % len(made)]
        os.link(name, folder / f"{number:06d}{name.suffix}")
    return [Video(str(folder / f"{n:06d}{made[n % len(made)].suffix}"), 0, 24) for n in range(clips)]


def grown(name: str, videos: list[Video]) -> tuple[float, float]:
    """Megabytes after the first clips and how many more at the end, of this process, which has done nothing else."""
    decoder, process = ClipDecoder(Path("/"), name, tg=TemporalGradient()), psutil.Process()
    start = 0.0
    for number, video in enumerate(videos):
        if number == WARM:
            start = process.memory_info().rss / 2**20
        indices = np.arange(8) * 2 % (video.frames - 1)
        decoder(ClipTask(video.path, indices))
    return start, process.memory_info().rss / 2**20 - start


def watch_memory(names: list[str], clips: int) -> None:
    """Print how the memory of each reader grows."""
    with tempfile.TemporaryDirectory() as scratch:
        videos = synthesise_small(Path(scratch), clips)
        for name in names:
            began = time.monotonic()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                start, growth = alone.submit(grown, name, videos).result()
            verdict = "" if growth < GROWTH else f"  MORE THAN {GROWTH:g}"
            took = f"({time.monotonic() - began:.0f} s)"
            print(
                f"{name:11} {start:6.0f} MB after {WARM} clips, {growth:+6.1f} MB at {clips} {took}{verdict}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*", help="files or folders; none: generated videos")
    parser.add_argument("--clips", type=int, default=2000, help="clips of each reader's memory watch")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each speed")
    parser.add_argument("--most", type=int, default=12, help="files of each size and codec, spread over yours")
    parser.add_argument("--each", type=int, default=24, help="clips of each measurement of speed")
    args = parser.parse_args()
    if args.clips <= WARM:
        parser.error(f"--clips must be above {WARM}")
    absent = [str(path) for path in args.videos if not path.exists()]
    if absent:
        parser.error(f"no such file or folder: {', '.join(absent)}")
    names = readers()
    with tempfile.TemporaryDirectory() as scratch:
        given = [path.resolve() for path in args.videos]
        kinds = sorted_by_kind(given, args.most) if given else synthesise(Path(scratch))
        for kind, files in kinds.items():
            videos = usable(files)
            if videos:
                largest, mean = same(videos, names)
                verdict = "the same frames" if largest <= 2 else "OTHER FRAMES"
                print(f"{kind:16} {len(videos)} file(s): {verdict}, {largest} of 255 at most, {mean:.4f} on average")
                compare(kind, videos, names, args.each, args.rounds)
    watch_memory(names, args.clips)


if __name__ == "__main__":
    main()
