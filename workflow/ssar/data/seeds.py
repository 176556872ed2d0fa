"""Random numbers as pure functions of what they are for: no generator is ever carried from one sample to the next."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw is for. Part of every seed, so that no two uses share their random numbers."""

    ORDER = 0
    SAMPLE = 1
    CLIP = 2
    WEAK = 3
    STRONG_RGB = 4
    STRONG_TG = 5
    SIGNS = 6
    STRONG_FLOW = 7
    STRONG_CROP = 8
    WEAK_COLOUR = 9
    STRONG_COLOUR = 10
    CHANNELS = 11
    CORRUPTION = 12


def generator(purpose: Purpose, *words: int) -> np.random.Generator:
    """A fresh generator for one purpose and any non-negative integers, e.g. a run's seed and a position."""
    return np.random.default_rng([int(purpose), *words])


def derived_seed(purpose: Purpose, *words: int) -> int:
    """A seed in 0 .. 2**63 - 1 that depends on the purpose and the integers, and fits a signed 64-bit tensor."""
    return int(np.random.SeedSequence([int(purpose), *words]).generate_state(1, np.uint64)[0] >> np.uint64(1))
