"""The global random state as a function of the step, so that there is none to save."""

from __future__ import annotations

import numpy as np
import torch


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the global random state in one step of one process: dropout and whatever else a method draws."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def reseed(device: torch.device, seed: int) -> None:
    """Set the global random state of the host and of the device.

    Not by `torch.manual_seed`: where CUDA is not in use it notes each call, with a stack trace, for a later start.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
