"""Files of the parts that other runs play, for tests of methods that need them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tiny_methods import CLASSES, tiny_batch, tiny_method, tiny_run, total

from ssar.config import RunConfig, canonical, parse_run
from ssar.engine.weights import save_model
from ssar.evaluation.scores import Similarity, write_scores
from ssar.methods.base import Method

VIDEOS = {stream: [f"{stream}/{number}.avi" for number in range(8)] for stream in ("labelled", "unlabelled")}
"""Paths of the videos that `tiny_batch` points into."""


def upstream_for(run: RunConfig, folder: Path, videos: Sequence[str] | None = None) -> dict[str, Path]:
    """A tiny file for every role that a run has: similarity scores for `scores`, for others a trained network.

    `videos`: those that have scores; none: `VIDEOS`.
    """
    files = {}
    for number, role in enumerate(run.options.roles):
        if role == "scores":
            files[role] = folder / "scores.npz"
            write_similarity_file(files[role], videos=videos)
        else:
            files[role] = folder / f"{role}.pt"
            write_teacher(files[role], run, seed=number)
    return files


def write_teacher(path: Path, run: RunConfig, seed: int = 0, steps: int = 20) -> None:
    """model.pt of a network like the run's, which knows the classes of `tiny_batch` after some steps."""
    like = tiny_run("finetune")
    augment = like.augment.model_copy(update={"mean": run.augment.mean, "std": run.augment.std})
    like = like.model_copy(update={"model": run.model, "augment": augment})
    method = _trained(canonical(like), seed, steps)
    save_model(path, like, [str(name) for name in range(CLASSES)], method, method.predictor)


@cache
def _trained(config: str, seed: int, steps: int) -> Method:
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers must not depend on who asked first
        method = tiny_method(parse_run(config), seed)
        batch = tiny_batch(method)
        optimiser = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
        for _ in range(steps):
            loss = total(method, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return method


def write_similarity_file(path: Path, clips: int = 4, seed: int = 0, videos: Sequence[str] | None = None) -> Similarity:
    """Random scores in [0, 1] of all `VIDEOS`, different ones of projections and features."""
    paths = np.array(videos or [path for videos in VIDEOS.values() for path in videos])
    rng = np.random.default_rng(seed)
    matrices = rng.random((2, len(paths), 2, clips, clips), dtype=np.float32)
    scores = rng.random((2, len(paths)), dtype=np.float32)
    found = Similarity(paths, *matrices, *scores, configs=["{}", "{}"])
    write_scores(path, found)
    return found
