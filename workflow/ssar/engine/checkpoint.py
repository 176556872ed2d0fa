"""Resume checkpoints: atomic, two generations, tied to the run's settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ssar.errors import UserError
from ssar.files import atomic
from ssar.progress import note


class Checkpoints:
    """The two newest states of one run: ``last.ckpt`` and the one before it, ``previous.ckpt``.

    A write can be cut short by a power cut or a full disk, so the older file goes only after the newer is complete.
    """

    def __init__(self, folder: str | Path, identity: str) -> None:
        self.folder, self.identity = Path(folder), identity
        self.last, self.previous = self.folder / "last.ckpt", self.folder / "previous.ckpt"

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, text and containers of them."""
        with atomic(self.last) as temporary:
            with open(temporary, "wb") as file:
                torch.save({"identity": self.identity, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            if self.last.exists():
                os.replace(self.last, self.previous)

    def load(self) -> dict[str, Any] | None:
        """The newest readable state, on the CPU; None where the run has not been started.

        Raises UserError when the state belongs to other settings, or when none of the files can be read.
        """
        broken = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                identity = state.pop("identity")
            except Exception as error:  # a damaged file fails in any of zip, pickle and torch
                broken.append(f"{path}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
                note(f"unreadable checkpoint {path}")
                continue
            if identity != self.identity:
                raise UserError(
                    f"{path} is the state of a run with other settings or another split ({identity}, this run is "
                    f"{self.identity}); delete {self.folder} to start this run from the beginning"
                )
            return state
        if broken:
            heading = f"no checkpoint can be read; delete {self.folder} to start this run from the beginning"
            raise UserError.of(heading, broken)
        return None

    def clear(self) -> None:
        """Remove the states of a finished run."""
        for path in (self.last, self.previous):
            path.unlink(missing_ok=True)
