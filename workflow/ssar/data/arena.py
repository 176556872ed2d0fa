"""Shared memory that is used again and again, to bring tensors from a worker process.

torch gives every tensor that changes process its own shared memory, whose pages the system has to make, map and take
down again: 2 ms for a clip of 320x240, a fifth of the time to decode it. Here a worker copies a tensor into one of its
slots, which exist already, and the receiver copies it out: 0.2 ms.
"""

from __future__ import annotations

from multiprocessing.sharedctypes import RawArray
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Parcel(NamedTuple):
    """A tensor that lies in a worker's slot."""

    worker: int
    slot: int
    shape: torch.Size
    dtype: torch.dtype
    memory: Tensor | None  # the slot itself, where the receiver does not know it yet


class Slots:
    """Which slots of which worker hold a tensor that has not been taken out. Shared by all processes."""

    def __init__(self, workers: int, count: int) -> None:
        self.count = count
        self._memory = RawArray("B", workers * count)

    def of(self, worker: int) -> np.ndarray:
        """One flag for each slot of a worker."""
        return np.frombuffer(self._memory, np.uint8)[worker * self.count : (worker + 1) * self.count]


class Sender:
    """The worker's end."""

    def __init__(self, slots: Slots, worker: int) -> None:
        self.worker, self.taken = worker, slots.of(worker)
        self.memory: list[Tensor | None] = [None] * slots.count

    def pack(self, result: Any) -> Any:
        """The result with parcels instead of its tensors; those that find no free slot travel in torch's way."""
        return _exchange(result, self._pack)

    def _pack(self, tensor: Tensor) -> Tensor | Parcel:
        free = np.flatnonzero(self.taken == 0)
        if not len(free) or not tensor.numel():
            return tensor
        slot = int(free[0])
        memory, new = self.memory[slot], None
        if memory is None or memory.numel() < tensor.nbytes:
            memory = new = self.memory[slot] = torch.empty(tensor.nbytes, dtype=torch.uint8).share_memory_()
        _copy(_window(memory, tensor.shape, tensor.dtype), tensor)
        self.taken[slot] = 1
        return Parcel(self.worker, slot, tensor.shape, tensor.dtype, new)


class Receiver:
    """The other end. Results are taken out in the order in which each worker packed them, or any other."""

    def __init__(self, slots: Slots, pin_memory: bool) -> None:
        self.slots, self.pin_memory = slots, pin_memory
        self.memory: dict[tuple[int, int], Tensor] = {}

    def unpack(self, result: Any) -> Any:
        """The result with tensors of this process's own memory (page-locked with `pin_memory`) in place of parcels."""
        return _exchange(result, self._unpack)

    def _unpack(self, found: Tensor | Parcel) -> Tensor:
        if isinstance(found, Tensor):
            return found.pin_memory() if self.pin_memory else found
        if found.memory is not None:
            self.memory[found.worker, found.slot] = found.memory
        there = _window(self.memory[found.worker, found.slot], found.shape, found.dtype)
        here = torch.empty(found.shape, dtype=found.dtype, pin_memory=self.pin_memory)
        _copy(here, there)
        self.slots.of(found.worker)[found.slot] = 0
        return here


def _copy(target: Tensor, source: Tensor) -> None:
    """By numpy, on one thread: torch would wake its pool for each clip, and the pool's threads then wait in a loop.

    Measured on two cores with torch's default threads: the loader ran at 0.35 of a bare loop's speed, now at 0.9.
    """
    np.copyto(target.numpy(), source.numpy())


def _window(memory: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """The start of a slot, seen as a tensor."""
    return memory[: shape.numel() * dtype.itemsize].view(dtype).view(shape)


def _exchange(value: Any, change: Any) -> Any:
    """Apply `change` to the tensors and parcels of a result: one alone, or the fields of a NamedTuple."""
    if isinstance(value, Tensor | Parcel):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_exchange(field, change) for field in value))
    return value
