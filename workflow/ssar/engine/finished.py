"""The outputs of a finished training, kept beside its state until Snakemake has surely taken them. Free of torch.

Snakemake deletes the outputs of a job that it believes to have failed, or of which it does not know that it has ended:
when it was killed itself, when a node went down a moment too late, when an older attempt at the same run leaves. So
the files have a second name in `state/<run>/finished/`, which costs no room, and a start of the same training gives
them back instead of training again. Same training means the same settings, inputs and code; to train again
nevertheless, delete the run's state folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import ssar
from ssar.data.split import training_checksum
from ssar.engine.attempts import Claim
from ssar.errors import UserError
from ssar.files import Staged, checksum, sync, write_json
from ssar.progress import note

FOLDER = "finished"
RECORD = "record.json"
SPLITS = ("split", "unlabelled")
"""The inputs that are splits: only their training videos count."""


@cache
def code() -> str:
    """A checksum of the package's source and of torch's version: what else decides the weights of a run."""
    found = sha256(version("torch").encode())
    root = Path(ssar.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root)}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def inputs(split: Path, upstream: Mapping[str, Path], unlabelled: tuple[Path, Path] | None) -> dict[str, Path]:
    """The files whose content decides a training, by role; videos are identified by the split's dataset."""
    return {**upstream, "split": split} | ({"unlabelled": unlabelled[0]} if unlabelled else {})


@dataclass(frozen=True)
class Finished:
    """The kept outputs of one run. `state`: its state folder; `out`: where the outputs belong."""

    state: Path
    out: Path
    identity: str

    @classmethod
    def of(cls, state: Path, out: Path, config: str, files: Mapping[str, Path]) -> Finished:
        """Of the training with these canonical settings and `inputs`, by the code that there is now.

        Raises UserError for an input that is not there.
        """
        try:
            parts = {
                role: training_checksum(path) if role in SPLITS else checksum(path, "sha256")
                for role, path in sorted(files.items())
            }
        except FileNotFoundError as error:
            raise UserError(f"{error.filename}: there is no such file, and the training reads it") from None
        return cls(state, out, sha256(json.dumps([config, parts, code()]).encode()).hexdigest())

    @property
    def folder(self) -> Path:
        return self.state / FOLDER

    def there(self) -> bool:
        """Whether the run's outputs are in their place; run.json comes last."""
        return all((self.out / name).is_file() for name in ("model.pt", "run.json"))

    def keep(self, names: Sequence[str]) -> None:
        """Give the outputs of these names their second names. To be called while the claim is held.

        Where the disk refuses, the run is finished all the same, and can only be lost by its outputs being deleted.
        """
        self.forget()
        try:
            self.folder.mkdir(parents=True)
            for name in names:
                _second_name(self.out / name, self.folder / name)
            sync(self.folder)
            sums = {name: checksum(self.out / name, "sha256") for name in names}
            write_json(self.folder / RECORD, {"identity": self.identity, "files": sums})
        except OSError as error:
            note(f"the outputs are not kept in {self.folder}: {error}")
            self.forget()

    def restore(self, claim: Claim) -> bool:
        """Put the kept outputs of this very training in their place; False where there are none.

        Those of another one (other settings, inputs or code) are forgotten. Raises Superseded.
        """
        names = self._whole()
        with claim.hold():
            if not names:
                self.forget()
                return False
            with Staged() as staged:
                for name in names:
                    temporary = staged.place(self.out / name)
                    temporary.unlink()
                    _second_name(self.folder / name, temporary)
                    os.utime(temporary)  # as new as a job's outputs must be
                staged.publish()
        note(f"this training has finished before: its outputs are given back; delete {self.state} to train again")
        return True

    def forget(self) -> None:
        """Remove the second names."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self) -> list[str]:
        """The names of the kept files, if they are of this training and as they were."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
            sums = record["files"]
            if record["identity"] == self.identity and all(
                checksum(self.folder / name, "sha256") == found for name, found in sums.items()
            ):
                return list(sums)
        return []


def _second_name(path: Path, other: Path) -> None:
    """Another name for a file; a copy on a filesystem that has no such names."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copy2(path, other)
