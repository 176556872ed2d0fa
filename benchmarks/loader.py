"""Decoded clips per second of the loader with one worker, against a bare loop over the same clips in this process.

    python benchmarks/loader.py [--videos FOLDER] [--clips 240] [--rounds 3]

The bare loop opens a decord reader (one thread) for each clip and decodes its frames, and nothing else; for temporal
gradients it decodes the frames after them, too, and the loader computes the gradients on top. Both are timed in turns
and the best of each is compared, so that other load on the machine matters little. The aim is a ratio of 0.85.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT)]

import decord
import numpy as np

from ssar.config import ClipConfig, TemporalGradient
from ssar.data.clips import ClipDecoder, ClipTask
from ssar.data.loader import ClipLoader, Stream
from ssar.data.split import Video
from ssar.runtime import Runtime

BATCH = 8
CLIP = ClipConfig()


def synthesise(folder: Path) -> None:
    """Twelve videos of the size of UCF-101's, with keyframes every 10 frames."""
    from tests.videos import make_folder

    make_folder(folder, classes=3, per_class=4, frames=120, size=(240, 320))


def list_videos(folder: Path) -> list[Video]:
    """All videos of a folder, with the frame counts that their containers state."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".avi", ".mp4", ".mkv", ".webm"))
    lengths = [len(decord.VideoReader(str(path), num_threads=1)) for path in paths]
    return [Video(str(path.relative_to(folder)), 0, length) for path, length in zip(paths, lengths, strict=True)]


def bare(folder: Path, tasks: list[ClipTask], lookahead: int) -> float:
    """Clips per second of decord alone."""
    start = time.perf_counter()
    for task in tasks:
        indices = task.indices if not lookahead else np.union1d(task.indices, task.indices + lookahead)
        decord.VideoReader(str(folder / task.video), num_threads=1).get_batch(indices.tolist()).asnumpy()
    return len(tasks) / (time.perf_counter() - start)


def loaded(loader: ClipLoader, steps: int) -> float:
    """Clips per second of the loader, without the seconds in which its worker starts."""
    batches = loader.batches(range(steps + 1))
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch[stream.name].label) for batch in batches for stream in loader.streams)
    return count / (time.perf_counter() - start)


def compare(folder: Path, videos: list[Video], clips: int, rounds: int, tg: TemporalGradient | None) -> float:
    """Ratio of the loader's best speed to the bare loop's."""
    stream = Stream("labelled", videos, BATCH, seed=0)
    loader = ClipLoader(ClipDecoder(folder, tg=tg), (stream,), CLIP, Runtime(workers=1))
    steps = max(1, clips // BATCH)
    # step 0 warms up; the workers are ahead of it by then, so the best of several rounds needs enough steps
    tasks = [stream.sample(position, CLIP, loader.lookahead) for position in range(BATCH, (steps + 1) * BATCH)]
    speeds: dict[str, list[float]] = {"bare": [], "loader": []}
    contestants: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(folder, tasks, loader.lookahead),
        "loader": lambda: loaded(loader, steps),
    }
    for _ in range(rounds):
        for name, run in contestants.items():
            speeds[name].append(run())
    best = {name: max(found) for name, found in speeds.items()}
    ratio = best["loader"] / best["bare"]
    what = "RGB and gradients" if tg else "RGB"
    print(f"{what:18} bare decord {best['bare']:7.1f} clips/s   loader {best['loader']:7.1f} clips/s   ratio {ratio:.2f}")
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos; none: synthetic ones of 320x240 are made")
    parser.add_argument("--clips", type=int, default=240, help="clips of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.videos or Path(scratch)
        if args.videos is None:
            synthesise(folder)
        videos = list_videos(folder)
        print(f"{len(videos)} videos, clips of {CLIP.frames} frames at stride {CLIP.stride}, one worker")
        for tg in (None, TemporalGradient()):
            compare(folder, videos, args.clips, args.rounds, tg)


if __name__ == "__main__":
    main()
