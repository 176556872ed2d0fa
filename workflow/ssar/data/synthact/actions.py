"""What is done: the classes.

A class is defined by its motion alone and means the same after a horizontal flip or a crop: runs and turns go either
way, and only up and down, near and far, and the order of stages are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssar.data.synthact.motions import STAGES, Signal, Track, cycles

# The first N classes are a mix of repetitive, directed and multi-stage ones for any N.
CLASSES: tuple[str, ...] = (
    "rise",
    "fall",
    "oscillate-horizontally",
    "spin",
    "run-then-jump",
    "jump-then-run",
    "approach",
    "recede",
    "oscillate-vertically",
    "pulse",
    "run-then-throw",
    "bounce",
    "throw-then-run",
    "jump-then-throw",
    "throw-then-jump",
    "spin-then-run",
)


def stages_of(name: str) -> tuple[str, ...]:
    """The sub-actions of a class in order."""
    return tuple(name.split("-then-"))


@dataclass
class Performance:
    """A class acted out."""

    track: Track
    stages: tuple[tuple[str, int], ...]  # sub-actions and their first frames
    facing: int  # 1: as drawn, -1: actor, path and turns mirrored


def perform(name: str, frames: int, rng: np.random.Generator) -> Performance:
    """Act a class out over `frames` frames, somewhere in the middle of the scene."""
    names = stages_of(name)
    cut = round(frames * rng.uniform(0.42, 0.58))
    starts = (0, cut)[: len(names)]
    ends = (*starts[1:], frames)
    tracks = [STAGES[stage](rng, end - start) for stage, start, end in zip(names, starts, ends, strict=True)]
    track = tracks[0]
    for following in tracks[1:]:
        track = track.then(following)
    # limbs move a little whatever is done, so that moving limbs alone tell nothing
    track.gait = track.gait + rng.uniform(0, 1.2) * np.sin(cycles(rng, frames, 12, 40))
    facing = int(rng.choice([-1, 1]))
    track.x = facing * centred(track.x, 0.36, rng)
    track.y = centred(track.y, 0.3, rng)
    return Performance(track, tuple(zip(names, starts, strict=True)), facing)


def centred(path: Signal, limit: float, rng: np.random.Generator) -> Signal:
    """Shift a path so that it stays within +-limit where it fits, at a random place."""
    middle, half = (path.max() + path.min()) / 2, (path.max() - path.min()) / 2
    slack = max(0.0, limit - half)
    return path - middle + rng.uniform(-slack, slack)
