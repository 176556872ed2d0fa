"""Resume checkpoints: atomic, two generations, verified by the checksum in their names, tied to the run's settings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ssar.disk import free, megabytes
from ssar.engine import serial
from ssar.engine.state import CHECKPOINT
from ssar.errors import UserError
from ssar.files import Staged, sha256, sync
from ssar.progress import note


class Checkpoints:
    """The two newest states of one run, ``checkpoint-<step>-<sha256[:16]>.ckpt``.

    A write can be cut short by a power cut or a full disk, and a disk can rot; so the older file goes only after the
    newer is complete, and a file counts only if its content has the checksum in its name. `hold`: the block in which
    names appear and go (see `ssar.engine.attempts`).
    """

    def __init__(
        self, folder: str | Path, identity: str, hold: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.folder, self.identity, self.hold = Path(folder), identity, hold
        self.newest: Path | None = None
        """The newest file that this process has written, or read without complaint."""

    def files(self) -> list[Path]:
        """All checkpoints, the newest first."""
        paths = [path for path in self.folder.glob("checkpoint-*.ckpt") if CHECKPOINT.fullmatch(path.name)]
        return sorted(paths, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, text and containers of them; `step` is among the numbers.

        Raises UserError where the disk does not take it; the older files are then as they were.
        """
        step: int = state["step"]
        with Staged() as staged:
            try:
                # the final name needs the checksum of the content
                temporary = staged.place(self.folder / "checkpoint.ckpt")
                digest = serial.save({"identity": self.identity, **state}, temporary)
            except OSError as error:
                raise UserError(self._refused(step, error)) from error
            path = self.folder / f"checkpoint-{step:08d}-{digest[:16]}.ckpt"
            staged.rename(temporary, path)
            with self.hold():
                staged.publish()
                sync(self.folder)
                for other in self.files():
                    if other not in (path, self.newest):
                        other.unlink(missing_ok=True)
        self.newest = path

    def _refused(self, step: int, error: OSError) -> str:
        needed = f", which needs {megabytes(error.needed)}" if isinstance(error, serial.WriteError) else ""
        last = "there is no older one" if self.newest is None else f"the last whole one is of step {_step(self.newest)}"
        return (
            f"the checkpoint of step {step}{needed}, could not be written to {self.folder}: {error.strerror}; "
            f"{free(self.folder)}; {last}. Make room, then give the same command again: the run continues from there"
        )

    def load(self) -> dict[str, Any] | None:
        """The newest whole state, on the CPU; None where the run has not been started.

        Raises UserError when the state belongs to other settings, or when none of the files is whole. A disk that
        cannot be read or too little memory says nothing about a file: OSError, MemoryError.
        """
        broken = []
        for path in self.files():
            try:
                if not path.stem.endswith(sha256(path)[:16]):
                    raise ValueError("its content does not have the checksum in its name")
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                identity = state.pop("identity")
            except FileNotFoundError:  # an older attempt, not gone yet, has removed it meanwhile
                continue
            except (OSError, MemoryError):
                raise
            except Exception as error:  # what is not a state fails in any of zip, pickle and torch
                broken.append(f"{path}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
                note(f"damaged checkpoint {broken[-1]}; looking for the one before")
                continue
            if identity != self.identity:
                raise UserError(
                    f"{path} is the state of a run with other settings or another split ({identity}, this run is "
                    f"{self.identity}); delete {self.folder} to start this run from the beginning"
                )
            self.newest = path
            return state
        if broken:
            heading = f"no checkpoint can be read; delete {self.folder} to start this run from the beginning"
            raise UserError.of(heading, broken)
        return None

    def clear(self) -> None:
        """Remove the states of a finished run."""
        for path in self.files():
            path.unlink(missing_ok=True)


def _step(path: Path) -> int:
    found = CHECKPOINT.fullmatch(path.name)
    assert found is not None
    return int(found[1])
