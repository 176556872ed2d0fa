"""Textures behind the action: (height, width) values in 0..1, which blend a look's tints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


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


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int, int], Image]] = {
    "clouds": clouds,
    "stripes": stripes,
    "tiles": tiles,
    "patches": patches,
}


def enlarge(grid: Image, height: int, width: int) -> Image:
    """Bilinear enlargement of a coarse grid."""
    rows = np.linspace(0, grid.shape[0] - 1.001, height)
    columns = np.linspace(0, grid.shape[1] - 1.001, width)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None].astype(np.float32), (columns - left)[None].astype(np.float32)
    upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
    lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
    return upper * (1 - down) + lower * down


def background(texture: str, tints: Sequence[tuple[int, int, int]], seed: int, height: int, width: int) -> Image:
    """(height, width, 3) in 0..255: a texture blended through three tints, with fine grain."""
    rng = np.random.default_rng(seed)
    level = BACKGROUNDS[texture](rng, height, width)[..., None] * 2
    low, middle, high = (np.array(tint, np.float32) for tint in tints)
    blend = np.where(level < 1, low * (1 - level) + middle * level, middle * (2 - level) + high * (level - 1))
    grain = enlarge(rng.uniform(-12, 12, size=(60, 80)).astype(np.float32), height, width)
    return (blend + grain[..., None]).clip(0, 255)
