"""Size, exactness and speed of the codecs for temporal gradients.

    python benchmarks/tg_store.py [--videos FOLDER] [--count 12]

For up to `count` videos, without those below 64 frames: bytes as a share of raw ones, frames per second and core
written and read, and the mean error in grey levels of 255. "online" is what a store saves: the same gradients computed
from decoded frames, two for each. Read speeds are of clips of 8 random frames, through the store's own files.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import numpy as np
from decode import usable, videos_of
from tests.videos import make_folder

from ssar.data import tg_file
from ssar.data.reader import open_video
from ssar.data.temporal_gradient import read_with_gradient, temporal_gradient
from ssar.data.tg_codec import CODECS

FRAMES = 64
CLIPS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="folder of videos; none: synthetic ones of 320x240 are made")
    parser.add_argument("--count", type=int, default=12, help="how many of them, spread over the folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.videos or Path(scratch) / "videos"
        if args.videos is None:
            make_folder(folder, classes=2, per_class=2, frames=FRAMES + 8, size=(240, 320))
        compare(folder, args.count, Path(scratch))


def compare(folder: Path, count: int, scratch: Path) -> None:
    """Print the table."""
    paths = [Path(video.path) for video in usable(videos_of(folder, count)) if video.frames >= FRAMES]
    if not paths:
        sys.exit(f"no usable video of {FRAMES} frames or more among {count} of {folder}")
    rng = np.random.default_rng(0)
    places = np.sort(rng.choice(FRAMES - 1, (CLIPS, 8)), axis=1)
    gradients, online = [], 0.0
    for path in paths:
        frames = open_video(path).frames(range(FRAMES))
        gradients.append([temporal_gradient(now, later) for now, later in itertools.pairwise(frames)])
        start = time.process_time()
        for clip in places:
            reader = open_video(path)
            read_with_gradient(reader, clip, 1, "x_t - x_t+n")
            reader.close()
        online += time.process_time() - start
    raw, written = sum(g.nbytes for each in gradients for g in each), sum(map(len, gradients))
    read = places.size * len(paths)
    print(f"{len(paths)} videos of {folder}, {written} gradients, {raw / written / 1e3:.0f} kB each")
    print(f"{'codec':8} {'size':>6} {'written/s':>10} {'read/s':>8} {'error':>6}")
    for name in CODECS:
        files = [scratch / f"{number}.{name}" for number in range(len(paths))]
        start = time.process_time()
        for file, each in zip(files, gradients, strict=True):
            tg_file.write(file, {"codec": name, "count": len(each)}, each)
        middle = time.process_time()
        found = [tg_file.read(file, clip) for file in files for clip in places]
        end = time.process_time()
        wanted = [np.stack([each[t] for t in clip]) for each in gradients for clip in places]
        error = np.mean([np.abs(f.astype(int) - w).mean() for f, w in zip(found, wanted, strict=True)])
        size = sum(file.stat().st_size for file in files) / raw
        print(f"{name:8} {size:6.3f} {written / (middle - start):10.0f} {read / (end - middle):8.0f} {error:6.2f}")
    print(f"{'online':8} {'':6} {'':10} {read / online:8.0f} {0:6.2f}")


if __name__ == "__main__":
    main()
