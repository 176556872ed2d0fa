"""How an actor moves: stages of motion, of which the classes are made.

Lengths are in frame heights, y points down, time is in frames. Motions to the side go to the right: a performance may
be mirrored as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]


@dataclass
class Track:
    """The actor's pose at every frame; each field is (frames,)."""

    x: Signal  # centre
    y: Signal
    scale: Signal  # factor of the actor's size
    angle: Signal  # radians
    gait: Signal  # phase of legs, wings or wheels, radians
    arm: Signal  # 0..1
    ball_x: Signal  # the thrown object's centre, relative to the actor's; NaN while there is none
    ball_y: Signal

    @classmethod
    def still(cls, frames: int) -> Track:
        """An actor that stands at the origin."""
        pose = {"scale": 1.0, "ball_x": np.nan, "ball_y": np.nan}
        return cls(**{field.name: np.full(frames, pose.get(field.name, 0.0)) for field in fields(cls)})

    def then(self, other: Track) -> Track:
        """Continue with another track from where this one ends."""
        shifts = {"x": self.x[-1], "y": self.y[-1], "gait": self.gait[-1]}
        return Track(
            **{
                field.name: np.concatenate(
                    [getattr(self, field.name), getattr(other, field.name) + shifts.get(field.name, 0.0)]
                )
                for field in fields(self)
            }
        )


Stage = Callable[[np.random.Generator, int], Track]


def cycles(rng: np.random.Generator, frames: int, shortest: float = 18.0, longest: float = 30.0) -> Signal:
    """Phase (radians) of a repetition with a random period in frames and a random start."""
    return 2 * np.pi * (np.arange(frames) / rng.uniform(shortest, longest) + rng.uniform())


def progress(rng: np.random.Generator, frames: int) -> Signal:
    """0..1 over the stage, monotone, with a random ease in and out."""
    t = np.linspace(0, 1, frames)
    ease = rng.uniform(0, 0.6)
    return (1 - ease) * t + ease * t * t * (3 - 2 * t)


def oscillate_horizontally(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    track.x = rng.uniform(0.16, 0.28) * np.sin(cycles(rng, frames))
    return track


def oscillate_vertically(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    track.y = rng.uniform(0.14, 0.24) * np.sin(cycles(rng, frames))
    return track


def spin(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    # whole turns, so that it ends upright
    track.angle = 2 * np.pi * max(1, round(frames / rng.uniform(26, 40))) * np.linspace(0, 1, frames)
    return track


def pulse(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    track.scale = np.exp(rng.uniform(0.3, 0.45) * np.sin(cycles(rng, frames)))
    return track


def bounce(rng: np.random.Generator, frames: int) -> Track:
    """A ball's parabolas: sharp at the ground, unlike the harmonic vertical oscillation, and drifting sideways."""
    track = Track.still(frames)
    fraction = cycles(rng, frames, 18, 26) / (2 * np.pi) % 1
    track.y = -rng.uniform(0.3, 0.45) * 4 * fraction * (1 - fraction)
    track.x = rng.uniform(0.25, 0.45) * np.linspace(0, 1, frames)
    return track


def rise(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    track.y = -rng.uniform(0.45, 0.6) * progress(rng, frames)
    return track


def approach(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    track.scale = np.exp(rng.uniform(0.9, 1.2) * (progress(rng, frames) - 0.55))
    return track


def backwards(stage: Stage) -> Stage:
    """The same motion played in reverse."""

    def reverse(rng: np.random.Generator, frames: int) -> Track:
        track = stage(rng, frames)
        return Track(**{field.name: getattr(track, field.name)[::-1] for field in fields(track)})

    return reverse


def run(rng: np.random.Generator, frames: int) -> Track:
    track = Track.still(frames)
    track.gait = cycles(rng, frames, 9, 14)
    track.x = rng.uniform(0.4, 0.6) * np.linspace(0, 1, frames)
    track.y = -0.02 * np.abs(np.sin(track.gait))
    return track


def jump(rng: np.random.Generator, frames: int) -> Track:
    """Jumps on the spot, as many as fit at about 16 frames each."""
    track = Track.still(frames)
    fraction = np.linspace(0, max(1, round(frames / 16)), frames) % 1
    track.y = -rng.uniform(0.28, 0.4) * 4 * fraction * (1 - fraction)
    return track


def throw(rng: np.random.Generator, frames: int) -> Track:
    """Wind up, lean into it, and let an object fly; as many throws as fit at about 22 frames each."""
    track = Track.still(frames)
    fraction = np.linspace(0, max(1, round(frames / 22)), frames) % 1
    release = 0.35
    away = fraction >= release
    wind, flight = np.clip(fraction / release, 0, 1), np.clip((fraction - release) / (1 - release), 0, 1)
    lean = np.where(away, 1.1 * np.clip(3 * flight, 0, 1) - 0.5, -0.5 * wind)
    track.arm = np.where(away, np.clip(1 - 4 * flight, 0, 1), wind)
    track.angle = lean * np.sin(np.pi * fraction)
    reach, height = rng.uniform(0.6, 0.9), rng.uniform(0.15, 0.3)
    track.ball_x = np.where(away, 0.1 + reach * flight, np.nan)
    track.ball_y = np.where(away, -0.12 - height * 4 * flight * (1 - flight) + 0.25 * flight, np.nan)
    return track


STAGES: dict[str, Stage] = {
    "rise": rise,
    "fall": backwards(rise),
    "approach": approach,
    "recede": backwards(approach),
    "oscillate-horizontally": oscillate_horizontally,
    "oscillate-vertically": oscillate_vertically,
    "spin": spin,
    "pulse": pulse,
    "bounce": bounce,
    "run": run,
    "jump": jump,
    "throw": throw,
}
