"""What transcoding costs and gains: encoding speed, disk, fidelity; clips read per core and second, before and after.

    python benchmarks/transcode.py [--videos FOLDER ...] [--count 4] [--intervals 4 12] [--crf 18] [--clips 24]

For up to `count` videos of each folder; without folders for a generated one each of 320x240 MPEG-4 with a keyframe
every 10 frames, like UCF-101's, and of 1280x720 H.264 with one every 250 and B-frames, like a web site's. Encoding
speed is in frames per second of one core, counting included; the size is a share of the source's; the PSNR is that of
the brightness, against the decoded source scaled to the new size. A clip has 8 frames, 8 apart, from a random place, in
a file that is opened for it. "scaled" are the sources read with `decode_short_side`. Clips are counted per second of
processor time, the best of `rounds` turns; the gain is that over reading the source as it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import av
import numpy as np
from decode import videos_of
from tests.videos import moving_frames

from ssar.config import ClipConfig, Transcode
from ssar.data.backends.timetable import quarter_turns
from ssar.data.encode import encode
from ssar.data.probe import probe
from ssar.data.reader import PACKAGES, open_video

CLIP = ClipConfig()
GENERATED = {
    "320x240 mpeg4": ("mpeg4", (240, 320), 150, {"g": "10", "bf": "2", "qscale": "4", "flags": "+qscale"}),
    "1280x720 h264": ("libx264", (720, 1280), 100, {"g": "250", "bf": "3", "crf": "23", "preset": "veryfast"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", default=[], help="folders of videos; none: generated ones")
    parser.add_argument("--count", type=int, default=4, help="how many of each, spread over the folder")
    parser.add_argument("--intervals", type=int, nargs="+", default=[4, 12], help="frames between keyframes")
    parser.add_argument("--crf", type=int, default=18, help="quality, lower is better")
    parser.add_argument("--short-side", type=int, default=256, help="of the new videos")
    parser.add_argument("--clips", type=int, default=24, help="clips read in each turn")
    parser.add_argument("--rounds", type=int, default=2, help="turns, of which the best counts")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for folder in args.videos or generate(Path(scratch)):
            compare(folder, Path(scratch), args)


def generate(scratch: Path) -> list[Path]:
    """Folders of a moving texture with the noise of a camera."""
    rng = np.random.default_rng(0)
    for name, (codec, size, frames, options) in GENERATED.items():
        (scratch / name).mkdir()
        with av.open(str(scratch / name / f"0.{'avi' if codec == 'mpeg4' else 'mp4'}"), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
            for image in moving_frames(frames, *size):
                noisy = np.clip(image + rng.normal(0, 3, size)[..., None], 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
            container.mux(stream.encode())
    return [scratch / name for name in GENERATED]


def compare(folder: Path, scratch: Path, args: argparse.Namespace) -> None:
    """Print the table of a folder."""
    if not (paths := videos_of(folder, args.count)):
        sys.exit(f"no video in {folder}")
    found = [probe(str(path)) for path in paths]
    if broken := [path for path, one in zip(paths, found, strict=True) if one.problem]:
        sys.exit(f"{broken[0]} does not decode: choose other videos")
    frames = [one.frames for one in found]
    sizes = sorted({f"{one.width}x{one.height}" for one in found})
    readers = [name for name, package in PACKAGES.items() if importlib.util.find_spec(package)]
    print(f"\n{folder.name}: {len(paths)} videos of {', '.join(sizes)}, {sum(frames)} frames", flush=True)
    new, lines = {}, {}
    for interval in args.intervals:
        how = Transcode(short_side=args.short_side, keyframe_interval=interval, crf=args.crf)
        new[interval] = [scratch / f"{folder.name}-{number}-{interval}.mp4" for number in range(len(paths))]
        start = time.process_time()
        for path, target in zip(paths, new[interval], strict=True):
            encode(path, target, how, probe(str(path)).frames)
        seconds = time.process_time() - start
        share = sum(path.stat().st_size for path in new[interval]) / sum(path.stat().st_size for path in paths)
        quality = np.mean([psnr(*pair) for pair in zip(paths, new[interval], strict=True)])
        lines[interval] = f"{sum(frames) / seconds:8.0f} {share:6.2f} {quality:6.1f}"
    larger = min(min(one.width, one.height) for one in found) > args.short_side
    print(f"{'interval':>8} {'frames/s':>8} {'size':>6} {'PSNR':>6}", end="")
    columns = [("source", paths, None), *([("scaled", paths, args.short_side)] if larger else [])]
    columns += [(f"every {interval}", files, None) for interval, files in new.items()]
    print("".join(f"\n{interval:8} {line}" for interval, line in lines.items()))
    print(f"{'clips/s':10}" + "".join(f"{name:>10}" for name, _, _ in columns) + "   gain")
    for reader in readers:
        speeds = [0.0] * len(columns)
        for _ in range(args.rounds):
            for place, (_, files, side) in enumerate(columns):
                speeds[place] = max(speeds[place], clips_per_second(files, frames, reader, side, args.clips))
        gains = ", ".join(f"{speed / speeds[0]:.2f}" for speed in speeds[1:])
        print(f"{reader:10}" + "".join(f"{speed:10.1f}" for speed in speeds) + f"   {gains}", flush=True)


def clips_per_second(files: list[Path], frames: list[int], reader: str, short_side: int | None, clips: int) -> float:
    """Clips at random places, the same in every call, per second of processor time."""
    rng = np.random.default_rng(0)
    start = time.process_time()
    for number in range(clips):
        place = number % len(files)
        first = rng.integers(max(1, frames[place] - CLIP.frames * CLIP.stride + 1))
        video = open_video(files[place], reader, short_side)
        video.frames([int(first + step * CLIP.stride) % frames[place] for step in range(CLIP.frames)])
        video.close()
    return clips / (time.process_time() - start)


def psnr(source: Path, new: Path) -> float:
    """Of the brightness, over every tenth frame, in dB."""
    errors = []
    with av.open(str(source)) as before, av.open(str(new)) as after:
        pairs = zip(before.decode(video=0), after.decode(video=0), strict=False)
        for number, (old, made) in enumerate(pairs):
            if number % 10 == 0:
                turns = quarter_turns(old)
                width, height = (made.width, made.height)[:: -1 if turns % 2 else 1]
                scaled = old.reformat(width, height, "yuv420p", interpolation="BICUBIC", dst_color_range="MPEG")
                brightness = np.rot90(scaled.to_ndarray()[:height], turns).astype(float)
                errors.append(np.mean((brightness - made.to_ndarray()[: made.height]) ** 2))
    return float(10 * np.log10(255**2 / np.mean(errors)))


if __name__ == "__main__":
    main()
