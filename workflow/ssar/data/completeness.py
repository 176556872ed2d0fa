"""How much of a dataset is here, as its published lists name it: what a split refuses and a table's footnote tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssar.errors import UserError
from ssar.files import write_json


@dataclass(frozen=True)
class Completeness:
    """Videos that the training and test lists of a dataset name; none for a dataset without lists, which is complete
    by definition."""

    dataset: str
    listed: int
    missing: int
    """No file of it is there."""
    unusable: int
    """Its files do not decode, or their bytes are also in another class."""

    @property
    def lost(self) -> int:
        """Listed videos that are neither trained on nor tested."""
        return self.missing + self.unusable

    @property
    def admission(self) -> str:
        """The line of yaml that lets trainings do without them."""
        return f"datasets: {{{self.dataset}: {{allow_missing: {self.lost}}}}}"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Completeness:
        """From what `write` made or a result carries. Raises KeyError, TypeError, ValueError for something else."""
        return cls(values["dataset"], *(int(values[key]) for key in ("listed", "missing", "unusable")))

    @classmethod
    def read(cls, path: Path) -> Completeness:
        """Raises UserError for a file that is not there or is something else."""
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(f"no {path}: index the dataset again") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error!r}): remove it and index the dataset again") from None

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))


def completeness_path(index_csv: Path) -> Path:
    """What an index says of the dataset's completeness."""
    return index_csv.with_name("completeness.json")


def missing_path(index_csv: Path) -> Path:
    """The listed videos of which no file is there: entry, split and where the list names it."""
    return index_csv.with_name("missing.csv")


def refuse_incomplete(index_csv: Path, allowed: int) -> None:
    """Raise UserError, with what to do, where more listed videos of an index are lost than `allow_missing` admits."""
    found = Completeness.read(completeness_path(index_csv))
    if found.lost <= allowed:
        return
    unpacked = index_csv.with_name("unpacked.json")
    again = (
        f"If any were deleted after they were unpacked, remove {unpacked} and all of {unpacked.with_name('videos')}: "
        f"the same command unpacks them again.\n"
        if found.missing and unpacked.exists()
        else ""
    )
    raise UserError(
        f"{found.dataset} is incomplete: of its {found.listed:,} listed videos {found.missing:,} are missing and "
        f"{found.unusable:,} unusable, and `allow_missing` admits {allowed:,}. {index_csv.with_name('report.md')} "
        f"names them.\n{again}Complete the dataset, or do without them, which every table will say, by this in your "
        f"--configfile:\n{found.admission}"
    )
