"""The files of the embedded dataset: every video is a function of the seed, its class, its split and its number."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ssar.config import Synthact
from ssar.data.synthact.actions import CLASSES, Performance, perform
from ssar.data.synthact.render import frames
from ssar.data.synthact.scenes import Scene, draw_look, draw_scene
from ssar.files import atomic
from ssar.progress import track

FRAMES_PER_SECOND = 25
SPLITS = ("train", "test")
QUALITY = {"mpeg4": {"qscale": "4", "flags": "+qscale"}, "h264": {"crf": "23", "preset": "veryfast"}}


@dataclass(frozen=True)
class Job:
    """One video to make."""

    config: Synthact
    root: Path
    label: int
    split: str
    number: int

    @property
    def path(self) -> str:
        """Where it goes, relative to the folder of the videos."""
        name = CLASSES[self.label]
        return f"{name}/{name}-{self.split}-{self.number:03d}.mp4"

    @property
    def seed(self) -> int:
        """The video's own seed; independent of how many videos and classes there are."""
        entropy = (self.config.seed, self.label, SPLITS.index(self.split), self.number)
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@dataclass(frozen=True)
class Truth:
    """One row of meta.csv."""

    path: str
    label_name: str
    split: str
    stages: str
    actor: str
    scene: str
    frames: int
    seed: int


def compose(config: Synthact, label: int, split: str, seed: int) -> tuple[Scene, Performance]:
    """Decide everything that a video shows."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(config.min_frames, config.max_frames + 1))
    performance = perform(CLASSES[label], length, rng)
    biased = rng.uniform() < config.bias and split == "train"
    own = draw_look(rng)
    look = draw_look(np.random.default_rng((config.seed, label))) if biased else own
    return draw_scene(look, length, rng), performance


def make(job: Job) -> Truth:
    """Render and encode one video."""
    config = job.config
    scene, performance = compose(config, job.label, job.split, job.seed)
    encode(job.root / job.path, frames(scene, performance, config.width, config.height), config)
    return Truth(
        path=job.path,
        label_name=CLASSES[job.label],
        split=job.split,
        stages=" ".join(f"{name}@{start}" for name, start in performance.stages),
        actor=scene.look.actor,
        scene=scene.look.texture,
        frames=len(scene.camera),
        seed=job.seed,
    )


def encode(path: Path, images: Iterable[NDArray[np.uint8]], config: Synthact) -> None:
    """Write frames as one video file; one thread, so that equal frames make equal files."""
    with atomic(path) as temporary, av.open(str(temporary), "w") as container:
        stream = container.add_stream(config.codec, rate=FRAMES_PER_SECOND, options=QUALITY[config.codec])
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def generate(config: Synthact, root: Path, jobs: int) -> None:
    """Make `root/videos/<class>/<video>.mp4` and `root/meta.csv` with `jobs` processes.

    Videos of an earlier configuration are removed, since they would be indexed as data.
    """
    counts = (("train", config.train_per_class), ("test", config.test_per_class))
    folder = root / "videos"
    wanted = [
        Job(config, folder, label, split, number)
        for label in range(config.classes)
        for split, count in counts
        for number in range(count)
    ]
    paths = {folder / job.path for job in wanted}
    for stale in folder.glob("*/*.mp4"):
        if stale not in paths:
            stale.unlink()
    if jobs == 1:
        rows = list(track(map(make, wanted), len(wanted), "synthact"))
    else:
        # spawned, not forked: the caller may hold threads
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows = list(track(pool.map(make, wanted, chunksize=8), len(wanted), "synthact"))
    with atomic(root / "meta.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("class" if field.name == "label_name" else field.name for field in fields(Truth))
        writer.writerows(astuple(row) for row in rows)
