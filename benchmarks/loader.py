"""Decoded clips per core and second of the loader with one worker, against a bare loop over the same clips.

    python benchmarks/loader.py [--videos FOLDER] [--clips 120] [--rounds 3]

Both read with decord. The bare loop opens a decord reader (one thread) for each clip and decodes its frames, and
nothing else; for temporal gradients it decodes the frames after them, too, and the loader computes the gradients on
top. "Per core" means per second of processor time, of all processes that take part, so that other load on the machine
matters little. Both are timed in turns and the best of each is compared. The aim is a ratio of 0.85.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import decord
import numpy as np
import psutil
from decode import usable, videos_of
from tests.videos import make_folder

from ssar.config import ClipConfig, TemporalGradient
from ssar.data.clips import ClipDecoder, ClipTask
from ssar.data.loader import ClipLoader, Stream
from ssar.data.split import Video
from ssar.runtime import Runtime

BATCH = 8
MOST = 100
"""Videos of a folder that are read, spread over it."""
CLIP = ClipConfig()


def synthesise(folder: Path) -> None:
    """Twelve videos of the size of UCF-101's, with keyframes every 10 frames."""
    make_folder(folder, classes=3, per_class=4, frames=120, size=(240, 320))


class Speed(NamedTuple):
    """Clips per second of the clock and of the processor."""

    wall: float
    core: float


def bare(folder: Path, tasks: list[ClipTask], lookahead: int) -> Speed:
    """decord alone."""
    wall, core = time.perf_counter(), time.process_time()
    for task in tasks:
        indices = task.indices if not lookahead else np.union1d(task.indices, task.indices + lookahead)
        decord.VideoReader(str(folder / task.video), num_threads=1).get_batch(indices.tolist()).asnumpy()
    return Speed(len(tasks) / (time.perf_counter() - wall), len(tasks) / (time.process_time() - core))


def processor_seconds() -> float:
    """Of this process and its workers so far."""
    times = [psutil.Process(child.pid).cpu_times() for child in multiprocessing.active_children()]
    return time.process_time() + sum(each.user + each.system for each in times)


def loaded(loader: ClipLoader, steps: int) -> Speed:
    """The loader, from its first batch on: a worker takes seconds to start."""
    batches = loader.batches(range(steps + 1))
    next(batches)
    wall, core = time.perf_counter(), processor_seconds()
    count = sum(len(next(batches)[stream.name].label) for _ in range(steps) for stream in loader.streams)
    speed = Speed(count / (time.perf_counter() - wall), count / (processor_seconds() - core))
    batches.close()
    return speed


def compare(folder: Path, videos: list[Video], clips: int, rounds: int, tg: TemporalGradient | None) -> None:
    """Print the best of each, and their ratio per core."""
    stream = Stream("labelled", videos, BATCH, seed=0)
    loader = ClipLoader(ClipDecoder(folder, "decord", tg=tg), (stream,), CLIP, Runtime(workers=1))
    steps = max(1, clips // BATCH)
    tasks = [stream.sample(position, CLIP, loader.lookahead) for position in range(BATCH, (steps + 1) * BATCH)]
    alone, ours = [], []
    for _ in range(rounds):
        alone.append(bare(folder, tasks, loader.lookahead))
        ours.append(loaded(loader, steps))
    best = {
        "bare decord": Speed(*map(max, zip(*alone, strict=True))),
        "loader": Speed(*map(max, zip(*ours, strict=True))),
    }
    what = "RGB and gradients" if tg else "RGB"
    for name, speed in best.items():
        print(f"{what:18} {name:12} {speed.core:7.1f} per core {speed.wall:7.1f} by the clock")
    wall, core = (ours / alone for ours, alone in zip(best["loader"], best["bare decord"], strict=True))
    print(f"{what:18} {'ratio':12} {core:7.2f} per core {wall:7.2f} by the clock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos; none: synthetic ones of 320x240 are made")
    parser.add_argument("--clips", type=int, default=120, help="clips of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.videos or Path(scratch)
        if args.videos is None:
            synthesise(folder)
        videos = usable(videos_of(folder.resolve(), MOST))
        if not videos:
            parser.error(f"no usable video in {folder}")
        print(f"{len(videos)} videos, clips of {CLIP.frames} frames at stride {CLIP.stride}, one worker")
        for tg in (None, TemporalGradient()):
            compare(folder, videos, args.clips, args.rounds, tg)


if __name__ == "__main__":
    main()
