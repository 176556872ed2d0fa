"""The files of a finished run: they appear together, and only if the attempt is still the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssar.engine.attempts import Claim
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.failures import free
from ssar.engine.state import Progress, newest_checkpoint
from ssar.errors import UserError
from ssar.files import Staged, leftovers, sync


@contextmanager
def finished(out: Path, claim: Claim, checkpoints: Checkpoints) -> Iterator[Callable[[str], Path]]:
    """Gives the place to write a file of that name to. When the block ends, the files appear in `out` in the order in
    which they were asked for, and the run's state goes.

    Raises UserError where the disk does not take them; nothing has appeared then, and the state is kept.
    """
    for name in (".pt", ".csv", ".npz", ".json"):
        for path in leftovers(out, name):
            path.unlink(missing_ok=True)
    try:
        with Staged() as staged:
            yield lambda name: staged.place(out / name)
            staged.sync()
            with claim.hold():
                staged.publish()
                sync(out)
                checkpoints.clear()
                Progress.remove(claim.folder)
    except OSError as error:
        claim.check()  # a newer attempt sweeps away what an older one was writing
        step = newest_checkpoint(claim.folder)
        last = "there is no checkpoint" if step is None else f"the last checkpoint is of step {step}"
        raise UserError(
            f"the outputs could not be written to {out}: {error.strerror or error}; {free(out)}; {last}. Make room, "
            "then give the same command again: the run continues from there"
        ) from error
