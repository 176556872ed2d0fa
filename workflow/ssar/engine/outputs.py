"""The files of a finished run: they appear together, and only if the attempt is still the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssar.disk import free
from ssar.engine.attempts import Claim
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.finished import Finished
from ssar.engine.life import Life
from ssar.engine.state import Progress, newest_checkpoint
from ssar.errors import UserError
from ssar.files import Staged, sync

NAMES = ("model.pt", "curves.csv", "pseudo_labels.npz", "run.json")
"""Outputs of a training; run.json, which says that it is done, is the last."""


@contextmanager
def finished(claim: Claim, checkpoints: Checkpoints, kept: Finished, life: Life) -> Iterator[Callable[[str], Path]]:
    """Gives the place to write an output of that name to. When the block ends, the files appear in the order in which
    they were asked for, get their second names (`ssar.engine.finished`), and the run's state goes.

    Raises UserError where the disk does not take them; nothing has appeared then, and the state is kept.
    """
    names: list[str] = []

    def place(name: str) -> Path:
        names.append(name)
        return staged.place(kept.out / name)

    with claim.hold():  # whoever has the claim has no earlier attempt beside it
        for path in (path for name in NAMES for path in kept.out.glob(f".{Path(name).stem}-*{Path(name).suffix}")):
            path.unlink(missing_ok=True)
    try:
        with Staged() as staged:
            yield place
            staged.sync()
            with claim.hold():
                staged.publish()
                sync(kept.out)
                kept.keep(names)
                checkpoints.clear()
                life.end()
                Progress.remove(claim.folder)
    except OSError as error:
        claim.check()  # a newer attempt sweeps away what an older one was writing
        step = newest_checkpoint(claim.folder)
        last = "there is no checkpoint" if step is None else f"the last checkpoint is of step {step}"
        raise UserError(
            f"the outputs could not be written to {kept.out}: {error.strerror or error}; {free(kept.out)}; {last}. "
            "Make room, then give the same command again: the run continues from there"
        ) from error
