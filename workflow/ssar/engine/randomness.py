"""The global random state as a function of the step, so that there is none to save."""

from __future__ import annotations

import numpy as np
import torch


def step_seed(seed: int, step: int, share: int) -> int:
    """Seed of the global random state in one share of a step: dropout and whatever else a method draws.

    Of the share, not the process, so that any number of devices draws the same.
    """
    return int(np.random.SeedSequence([seed, step, share]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def reseed(device: torch.device, seed: int) -> None:
    """Set the global random state of the host and of the device.

    Not by `torch.manual_seed`: where CUDA is not in use it notes each call, with a stack trace, for a later start.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The global random state of the host and of the device."""
    own = torch.get_device_module(device).get_rng_state(device) if device.type != "cpu" else None
    return torch.default_generator.get_state(), own


def set_random_state(device: torch.device, state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    """Put back what `random_state` gave."""
    host, own = state
    torch.default_generator.set_state(host)
    if own is not None:
        torch.get_device_module(device).set_rng_state(own, device)
