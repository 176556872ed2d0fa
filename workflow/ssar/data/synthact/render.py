"""From a performance in a scene to frames: antialiased polygons over a moving background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from ssar.data.synthact.actions import Performance
from ssar.data.synthact.actors import ACTORS, Part, disc, turn
from ssar.data.synthact.backgrounds import Image, background
from ssar.data.synthact.scenes import MARGIN, Colour, Distractor, Scene

SUPERSAMPLING = 4
BALL = 0.055  # radius in frame heights


def frames(scene: Scene, performance: Performance, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the video's frames, each uint8 (height, width, 3)."""
    margin = int(np.ceil(MARGIN * height)) + 1
    look = scene.look
    world = background(look.texture, look.tints, look.grain, height + 2 * margin, width + 2 * margin)
    y, x = np.mgrid[:height, :width] / height - 0.5
    light = (1 + scene.light[0] * x + scene.light[1] * y).astype(np.float32)[..., None]
    for distractor in scene.distractors:
        if distractor.velocity == (0.0, 0.0):
            paint(world, stand(distractor, 0), distractor.palette, (width / 2 + margin, height / 2 + margin), height)
    moving = [distractor for distractor in scene.distractors if distractor.velocity != (0.0, 0.0)]
    for time, camera in enumerate(scene.camera):
        frame = crop(world, margin + camera[1] * height, margin + camera[0] * height, height, width)
        centre = (width / 2 - camera[0] * height, height / 2 - camera[1] * height)
        for distractor in moving:
            paint(frame, stand(distractor, time), distractor.palette, centre, height)
        paint(frame, act(scene, performance, time), look.palette, centre, height)
        yield (frame * (light * scene.gain[time])).clip(0, 255).astype(np.uint8)


def act(scene: Scene, performance: Performance, time: int) -> list[Part]:
    """The actor's polygons at one frame, with what it has thrown, in frame heights around the scene's centre."""
    track, look = performance.track, scene.look
    place = np.array([track.x[time], track.y[time]])
    mirror = np.array([performance.facing, 1])
    size = look.size * track.scale[time]
    parts = [
        Part(part.tone, turn(part.points, track.angle[time]) * mirror * size + place)
        for part in ACTORS[look.actor](track.gait[time], track.arm[time])
    ]
    if not np.isnan(track.ball_x[time]):
        ball = np.array([track.ball_x[time], track.ball_y[time]]) * mirror
        parts.append(Part(3, disc(0, 0, BALL) + ball + place))
    return parts


def stand(distractor: Distractor, time: int) -> list[Part]:
    """A distractor's polygons at one frame."""
    place = np.array(distractor.start) + time * np.array(distractor.velocity)
    return [
        Part(part.tone, turn(part.points, distractor.angle) * distractor.size + place)
        for part in ACTORS[distractor.actor](0.0, 0.0)
    ]


def crop(world: Image, top: float, left: float, height: int, width: int) -> Image:
    """A window at a fractional position, bilinear."""
    y, x = int(top), int(left)
    down, right = np.float32(top - y), np.float32(left - x)
    window = world[y : y + height + 1, x : x + width + 1]
    rows = window[:-1] + down * (window[1:] - window[:-1]) if down else window[:-1]
    return rows[:, :-1] + right * (rows[:, 1:] - rows[:, :-1]) if right else rows[:, :-1].copy()


def paint(
    canvas: Image, parts: Sequence[Part], palette: Sequence[Colour], centre: tuple[float, float], height: int
) -> None:
    """Draw polygons onto the canvas in place; only their bounding box is touched."""
    outlines = [part.points * height + centre for part in parts]
    corners = np.concatenate(outlines)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int), (canvas.shape[1], canvas.shape[0]))
    if right <= left or bottom <= top:
        return
    # colours over black and the mask, both averaged: premultiplied alpha, so that edges do not darken
    size = ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING)
    colour, mask = Pillow.new("RGB", size), Pillow.new("L", size)
    on_colour, on_mask = ImageDraw.Draw(colour), ImageDraw.Draw(mask)
    for part, outline in zip(parts, outlines, strict=True):
        polygon = ((outline - (left, top)) * SUPERSAMPLING).ravel().tolist()
        on_colour.polygon(polygon, fill=palette[part.tone])
        on_mask.polygon(polygon, fill=255)
    alpha = np.asarray(mask.reduce(SUPERSAMPLING), np.float32)[..., None] / 255
    box = canvas[top:bottom, left:right]
    box *= 1 - alpha
    box += np.asarray(colour.reduce(SUPERSAMPLING), np.float32)
