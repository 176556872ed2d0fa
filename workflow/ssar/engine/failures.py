"""Why something failed, in the words that a user can act on. Free of torch."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import ssar
from ssar.disk import is_full, no_room
from ssar.errors import UserError

PACKAGE = Path(ssar.__file__).parent


def reason(error: BaseException) -> str:
    """The text of a UserError; of any other exception its type, message, and place in this package.

    A full disk is the user's to mend, whatever was being written, and so is a file that may not be read.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and is_full(error):
        return no_room(error)
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    place = _place(error)
    return f"{text} ({place})" if place else text


def _place(error: BaseException) -> str:
    """File, line and function of the last frame in this package."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"{os.path.relpath(last.filename, PACKAGE.parent)}:{last.lineno} in {last.name}"
