"""Where it happens: looks, distractors, camera and light. All of it is irrelevant to the class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssar.data.synthact.actors import ACTORS, TONES
from ssar.data.synthact.backgrounds import BACKGROUNDS

Colour = tuple[int, int, int]
MARGIN = 0.12  # of the height: how far the camera may move without leaving the background

# Ranges of brightness (HSV value). Actors are brighter than what surrounds them by so much that an RGB network learns
# to find them from all labels but not from a tenth; with one common range it stayed at chance even with all.
BRIGHT, DIM, DARK = (0.6, 1.0), (0.1, 0.5), (0.05, 0.45)


@dataclass(frozen=True)
class Look:
    """The appearance: what the `bias` option ties to the class."""

    actor: str
    palette: tuple[Colour, ...]  # RGB by tone
    size: float  # the actor's height in frame heights
    texture: str  # of the background
    tints: tuple[Colour, ...]  # its colours
    grain: int  # its seed


@dataclass(frozen=True)
class Distractor:
    """A shape that does not act: it stands, or drifts on a straight line."""

    actor: str
    palette: tuple[Colour, ...]
    size: float
    angle: float
    start: tuple[float, float]
    velocity: tuple[float, float]  # frame heights per frame


@dataclass(frozen=True)
class Scene:
    """A look with everything around it."""

    look: Look
    distractors: tuple[Distractor, ...]
    camera: NDArray[np.float64]  # (frames, 2): offset in frame heights
    gain: NDArray[np.float64]  # (frames,): brightness
    light: NDArray[np.float64]  # (2,): brightness gradient across the frame, right and down


def colours(
    rng: np.random.Generator, count: int, value: tuple[float, float], spread: float = 1.0
) -> tuple[Colour, ...]:
    """Random RGB colours of a range of brightness; a small `spread` keeps their hues together."""
    hue = rng.uniform()
    found = []
    for _ in range(count):
        tone = (hue + spread * rng.uniform(-0.5, 0.5)) % 1, rng.uniform(0.1, 1), rng.uniform(*value)
        red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(*tone))
        found.append((red, green, blue))
    return tuple(found)


def draw_look(rng: np.random.Generator) -> Look:
    """An actor, its colours and its surroundings."""
    return Look(
        actor=str(rng.choice(list(ACTORS))),
        palette=colours(rng, TONES, BRIGHT),
        size=float(rng.uniform(0.28, 0.42)),
        texture=str(rng.choice(list(BACKGROUNDS))),
        tints=colours(rng, 3, DARK, spread=0.6),
        grain=int(rng.integers(2**31)),
    )


def draw_scene(look: Look, frames: int, rng: np.random.Generator) -> Scene:
    """Distractors, camera and light for a look."""
    distractors = [draw_distractor(rng, moving=False) for _ in range(rng.integers(0, 3))]
    distractors += [draw_distractor(rng, moving=True) for _ in range(rng.integers(0, 2))]
    time = np.arange(frames)
    flicker = 0.01 * np.sin(2 * np.pi * (time / rng.uniform(8, 30) + rng.uniform()))
    fade = rng.uniform(-0.12, 0.12) * time / frames
    return Scene(
        look=look,
        distractors=tuple(distractors),
        camera=draw_camera(frames, rng),
        gain=rng.uniform(0.75, 1.1) + flicker + fade,
        light=rng.uniform(-0.35, 0.35, size=2),
    )


def draw_distractor(rng: np.random.Generator, moving: bool) -> Distractor:
    """A standing shape as large as an actor, or a small one that drifts."""
    direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.002, 0.006) if moving else 0.0
    return Distractor(
        actor=str(rng.choice(list(ACTORS))),
        palette=colours(rng, TONES, BRIGHT if moving else DIM),
        size=float(rng.uniform(0.05, 0.1) if moving else rng.uniform(0.2, 0.42)),
        angle=float(rng.uniform(0, 2 * np.pi) if rng.uniform() < 0.5 else 0),
        start=(float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.45, 0.45))),
        velocity=(float(speed * np.cos(direction)), float(speed * np.sin(direction))),
    )


def draw_camera(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A slow pan with hand shake, within the margin; a third of the cameras stand on a tripod."""
    path = np.zeros((frames, 2))
    if rng.uniform() < 1 / 3:
        return path
    time = np.arange(frames)[:, None]
    pan = rng.uniform(-0.05, 0.05, size=2) * (time / frames - 0.5)
    periods, phases = rng.uniform(10, 40, size=(2, 2)), rng.uniform(0, 2 * np.pi, size=(2, 2))
    shake = sum(np.sin(2 * np.pi * time / period + phase) for period, phase in zip(periods, phases, strict=True))
    return np.clip(pan + rng.uniform(0.001, 0.004) * shake, -MARGIN, MARGIN)
