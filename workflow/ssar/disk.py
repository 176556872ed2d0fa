"""Disks that are full, and how much room there is."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that takes no more: full, over the quota, or a file beyond the limit for one."""


def is_full(error: BaseException) -> bool:
    """Whether a disk takes no more."""
    return isinstance(error, OSError) and error.errno in FULL


def no_room(error: OSError) -> str:
    """What a full disk keeps from being written, and how much room there is."""
    folder = Path(error.filename).absolute().parent if isinstance(error.filename, str) else Path.cwd()
    what = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return f"{what}{error.strerror}; {free(folder)} of {folder}; make room, then give the same command again"


def megabytes(count: float) -> str:
    """A size in MB, to three digits where it is small."""
    return f"{count / 1e6:.3g} MB" if count < 1e8 else f"{count / 1e6:.0f} MB"


def free(folder: Path) -> str:
    """The room on the disk of a folder, the nearest that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{megabytes(shutil.disk_usage(folder).free)} are free on the disk"
