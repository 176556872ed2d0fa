"""Who acts: compound, articulated shapes as coloured polygons.

An actor's own frame of reference has its centre at the origin, y downwards, and is about one unit high. `gait`
(radians) drives the cyclic parts (legs, wings, wheels), `arm` in 0..1 raises the throwing part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class Part(NamedTuple):
    """One filled polygon: `tone` indexes the actor's palette, `points` is (n, 2)."""

    tone: int
    points: Points


def box(x: float, y: float, width: float, height: float) -> Points:
    """A rectangle around its centre."""
    w, h = width / 2, height / 2
    return np.array([(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)])


def disc(x: float, y: float, radius: float, stretch: float = 1.0) -> Points:
    """An ellipse as a polygon; `stretch` multiplies its height."""
    angle = np.linspace(0, 2 * np.pi, 17)[:-1]
    return np.stack([x + radius * np.cos(angle), y + radius * stretch * np.sin(angle)], axis=1)


def limb(x: float, y: float, length: float, width: float, angle: float) -> Points:
    """A bar hanging from (x, y), turned by `angle` from pointing down."""
    return turn(box(0, length / 2, width, length), angle) + np.array([x, y])


def turn(points: Points, angle: float) -> Points:
    """Rotate around the origin."""
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([(c, s), (-s, c)])


def figure(gait: float, arm: float) -> list[Part]:
    """A person: two legs, two arms, torso and head."""
    swing = 0.6 * np.sin(gait)
    return [
        Part(1, limb(0, -0.1, 0.34, 0.09, -0.8 * swing)),
        Part(2, limb(-0.05, 0.12, 0.4, 0.12, swing)),
        Part(2, limb(0.05, 0.12, 0.4, 0.12, -swing)),
        Part(0, box(0, -0.05, 0.28, 0.42)),
        Part(1, limb(0, -0.16, 0.38, 0.1, 0.8 * swing - 2.6 * arm)),
        Part(3, disc(0, -0.38, 0.13)),
    ]


def vehicle(gait: float, arm: float) -> list[Part]:
    """A truck with spoked wheels and a crane."""
    wheels = []
    for x in (-0.28, 0.28):
        spokes = turn(box(0, 0, 0.22, 0.07), gait) + np.array([x, 0.3])
        wheels += [Part(3, disc(x, 0.3, 0.15)), Part(1, spokes)]
    cabin = np.array([(0.05, -0.3), (0.3, -0.3), (0.45, 0.0), (0.05, 0.0)])
    return [
        Part(3, limb(-0.2, -0.05, 0.45, 0.09, 2.0 - 2.6 * arm)),
        Part(0, box(0, 0.1, 0.95, 0.3)),
        Part(2, cabin),
        *wheels,
    ]


def cross(gait: float, arm: float) -> list[Part]:
    """Two crossed bars of different colours with a hub; one bar swings."""
    sway = 0.15 * np.sin(gait)
    return [
        Part(0, turn(box(0, 0, 0.24, 1.0), sway)),
        Part(1, turn(box(0, 0, 0.85, 0.22), -1.2 * arm - sway)),
        Part(2, disc(0, 0, 0.2)),
        Part(3, disc(0, -0.38, 0.1)),
    ]


def bird(gait: float, arm: float) -> list[Part]:
    """A body with flapping wings, tail and head."""
    flap = 0.5 * np.sin(gait)
    tail = np.array([(-0.3, 0.0), (-0.58, -0.15), (-0.52, 0.15)])
    beak = np.array([(0.45, -0.2), (0.62, -0.12), (0.45, -0.08)])
    return [
        Part(1, limb(-0.02, 0.0, 0.48, 0.2, np.pi - 0.4 + flap)),
        Part(2, tail),
        Part(0, disc(0, 0.05, 0.36, 0.6)),
        Part(0, disc(0.36, -0.13, 0.15)),
        Part(3, beak),
        Part(1, limb(0.05, 0.02, 0.5, 0.2, 0.3 - flap - 2.4 * arm)),
    ]


def robot(gait: float, arm: float) -> list[Part]:
    """Boxes: legs that step in turn, body, arms, and a head with a visor."""
    step = 0.09 * np.sin(gait)
    return [
        Part(1, limb(-0.26, -0.16, 0.36, 0.12, 0.2)),
        Part(2, box(-0.14, 0.36 + step, 0.18, 0.28)),
        Part(2, box(0.14, 0.36 - step, 0.18, 0.28)),
        Part(0, box(0, 0.03, 0.5, 0.46)),
        Part(0, box(0, -0.35, 0.34, 0.26)),
        Part(3, box(0.06, -0.36, 0.22, 0.09)),
        Part(1, limb(0.26, -0.16, 0.4, 0.12, -0.2 - 2.4 * arm)),
    ]


def lamp(gait: float, arm: float) -> list[Part]:
    """A heavy foot, a jointed pole and a round shade."""
    bend = 0.25 * np.sin(gait)
    knee = np.array([0.22 * np.sin(bend), 0.0])
    top = knee + 0.36 * np.array([np.sin(1.4 * arm - bend), -np.cos(1.4 * arm - bend)])
    return [
        Part(2, np.array([(-0.32, 0.5), (-0.14, 0.3), (0.14, 0.3), (0.32, 0.5)])),
        Part(1, limb(0, 0.34, 0.38, 0.12, np.pi - bend)),
        Part(3, limb(knee[0], knee[1], 0.36, 0.1, np.pi + 1.4 * arm - bend)),
        Part(0, disc(top[0], top[1], 0.24)),
        Part(1, disc(top[0] + 0.08, top[1], 0.1)),
    ]


ACTORS: dict[str, Callable[[float, float], list[Part]]] = {
    "figure": figure,
    "vehicle": vehicle,
    "cross": cross,
    "bird": bird,
    "robot": robot,
    "lamp": lamp,
}
TONES = 4
