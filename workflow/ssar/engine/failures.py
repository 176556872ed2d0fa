"""Why something failed, in the words that a user can act on. Free of torch."""

from __future__ import annotations

import errno
import os
import shutil
import traceback
from pathlib import Path

import ssar
from ssar.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that takes no more: full, over the quota, or a file beyond the limit for one."""

PACKAGE = Path(ssar.__file__).parent


def reason(error: BaseException) -> str:
    """The text of a UserError; of any other exception its type, message, and place in this package.

    A full disk is the user's to mend, whatever was being written.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and is_full(error):
        return no_room(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    place = _place(error)
    return f"{text} ({place})" if place else text


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


def _place(error: BaseException) -> str:
    """File, line and function of the last frame in this package."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{os.path.relpath(last.filename, PACKAGE.parent)}:{last.lineno} in {last.name}"
