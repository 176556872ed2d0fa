"""Stand-ins: a line of text in the place of a transcoded video whose source does not decode, which says why.

So the folder of transcoded videos has a file for each source, and an index of it names the broken ones with the reason.
"""

from __future__ import annotations

from pathlib import Path

from ssar.files import write_text

MARK = "ssar: not transcoded: "
LONGEST = 1000
"""Characters of a reason that are kept."""


def write_standin(path: Path, reason: str) -> None:
    """Write a stand-in, atomically."""
    write_text(path, MARK + " ".join(reason.split())[:LONGEST] + "\n")


def read_standin(path: str | Path) -> str | None:
    """The reason that a stand-in gives; None for any other file. Raises OSError."""
    mark = MARK.encode()
    with open(path, "rb") as file:
        if file.read(len(mark)) != mark:
            return None
        return file.read(4 * LONGEST).decode("utf-8", errors="replace").strip()
