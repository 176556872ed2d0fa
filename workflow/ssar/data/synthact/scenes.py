"""Where it happens: textured backgrounds, distractors, camera and light. All of it is irrelevant to the class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssar.data.synthact.actors import ACTORS, TONES

Image = NDArray[np.float32]
MARGIN = 0.12  # of the height: how far the camera may move without leaving the background


@dataclass(frozen=True)
class Look:
    """The appearance: what the `bias` option ties to the class."""

    actor: str
    palette: tuple[tuple[int, int, int], ...]  # RGB by tone
    size: float  # the actor's height in frame heights
    background: str
    tint: tuple[tuple[int, int, int], ...]  # the background's colours
    texture: int  # seed of the background


@dataclass(frozen=True)
class Distractor:
    """A shape that does not act: it stands, or drifts on a straight line."""

    actor: str
    palette: tuple[tuple[int, int, int], ...]
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


import os
E = {k: float(v) for k, v in (kv.split("=") for kv in os.environ.get("SYN", "").split(",") if kv)}


def colours(rng: np.random.Generator, count: int, spread: float = 1.0, value: tuple[float, float]=(0.15, 1), sat=(.1, 1)) -> tuple[tuple[int, int, int], ...]:
    """Random colours; a small `spread` keeps their hues together."""
    hue = rng.uniform()
    found = []
    for _ in range(count):
        tone = colorsys.hsv_to_rgb((hue + spread * rng.uniform(-0.5, 0.5)) % 1, rng.uniform(*sat), rng.uniform(*value))
        found.append(tuple(round(255 * channel) for channel in tone))
    return tuple(found)


def draw_look(rng: np.random.Generator) -> Look:
    """An actor, its colours and its surroundings."""
    return Look(
        actor=str(rng.choice(list(ACTORS))),
        palette=colours(rng, TONES, value=(E.get('av0', .6), 1), sat=(.1, E.get('as1', 1))),
        size=float(rng.uniform(0.28, 0.42)),
        background=str(rng.choice(list(BACKGROUNDS))),
        tint=colours(rng, 3, spread=0.6, value=(.05, E.get('bv1', .45))),
        texture=int(rng.integers(2**31)),
    )


def draw_scene(look: Look, frames: int, rng: np.random.Generator) -> Scene:
    """Distractors, camera and light for a look."""
    distractors = [draw_distractor(rng, moving=False) for _ in range(rng.integers(0, int(E.get('nd', 3)) + 1))]
    distractors += [draw_distractor(rng, moving=True) for _ in range(rng.integers(0, int(E.get('nm', 2)) + 1))]
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
        palette=colours(rng, TONES, value=(.6, 1) if moving else (.1, E.get('dv1', .6))),
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


# --- backgrounds: (height, width) -> (height, width) values in 0..1, which blend the tints ---------------


def clouds(rng: np.random.Generator, height: int, width: int) -> Image:
    """Smooth noise over several octaves."""
    total = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 0.5), (7, 0.3), (17, 0.2)):
        grid = rng.uniform(size=(cells + 1, cells + 1)).astype(np.float32)
        total += weight * enlarge(grid, height, width)
    return np.clip((total - 0.5) * 2.2 + 0.5, 0, 1)


def stripes(rng: np.random.Generator, height: int, width: int) -> Image:
    """Parallel bands at a random angle, some of them wavy."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.06, 0.25)
    along, across = x * np.sin(angle) - y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    wave = rng.uniform(0, 0.04) * np.sin(along * rng.uniform(5, 20))
    return np.clip(0.5 + 2 * np.sin(2 * np.pi * (across + wave) / period), 0, 1)


def tiles(rng: np.random.Generator, height: int, width: int) -> Image:
    """A wall of random bricks."""
    rows = int(rng.integers(4, 10))
    cell = height / rows
    y, x = np.mgrid[:height, :width]
    row = (y / cell).astype(int)
    column = ((x + (row % 2) * cell * rng.uniform(0, 1)) / (cell * rng.uniform(1, 2))).astype(int)
    values = rng.uniform(size=(rows + 1, column.max() + 1)).astype(np.float32)
    return values[row, column]


def patches(rng: np.random.Generator, height: int, width: int) -> Image:
    """Cells around random points."""
    points = rng.uniform(size=(int(rng.integers(8, 26)), 2)) * (height, width)
    y, x = np.mgrid[:height, :width]
    distance = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    return rng.uniform(size=len(points)).astype(np.float32)[distance.argmin(axis=-1)]


BACKGROUNDS = {"clouds": clouds, "stripes": stripes, "tiles": tiles, "patches": patches}


def enlarge(grid: Image, height: int, width: int) -> Image:
    """Bilinear enlargement of a coarse grid."""
    rows = np.linspace(0, grid.shape[0] - 1.001, height)
    columns = np.linspace(0, grid.shape[1] - 1.001, width)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None].astype(np.float32), (columns - left)[None].astype(np.float32)
    upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
    lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
    return upper * (1 - down) + lower * down


def background(look: Look, height: int, width: int) -> Image:
    """(height, width, 3) in 0..255: the texture blended through the look's three tints, with fine grain."""
    rng = np.random.default_rng(look.texture)
    level = BACKGROUNDS[look.background](rng, height, width)[..., None] * 2
    low, middle, high = (np.array(tint, np.float32) for tint in look.tint)
    blend = np.where(level < 1, low * (1 - level) + middle * level, middle * (2 - level) + high * (level - 1))
    return (blend + 12 * enlarge(rng.uniform(-1, 1, size=(60, 80)).astype(np.float32), height, width)[..., None]).clip(0, 255)
