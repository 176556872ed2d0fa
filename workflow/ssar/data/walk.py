"""Finding the video files below a folder: names only, whatever there are hundreds of thousands of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ssar.data.signatures import is_archive
from ssar.errors import UserError

LOOKED_AT = 1000
"""Files by which a folder without videos is described: there may be millions."""
IMAGES = {".jpg", ".jpeg", ".png"}

Place = tuple[int, int]
"""Device and inode of a folder."""


def find_videos(root: Path, extensions: Sequence[str]) -> list[str]:
    """Paths relative to `root`, with slashes, of all files with one of these endings, sorted.

    Links to files and folders are followed, but for a folder that leads back to one above it. Names that begin with a
    dot are left out: editors, archives and snapshots of file servers leave them; so is `lost+found`, which a disk has
    and only root may read. A link to nothing is found, too, so that it is told and not overlooked. Raises UserError for
    a folder that cannot be read.
    """
    endings = tuple(ending.lower() for ending in extensions)
    found: list[str] = []
    try:
        _search(os.fspath(root), "", endings, (), found)
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be read: {error.strerror or error}") from error
    bad = [path for path in found if not path.isascii() and not _is_unicode(path)]
    if bad:
        raise UserError.of(f"{root} has file names that are not UTF-8; rename them:", map(ascii, bad[:10]))
    return sorted(found)


def what_lies_in(root: Path) -> str:
    """Which files a folder without videos has instead, by the first of them, and what to do about it."""
    files = (
        f"{folder}/{name}".removeprefix(f"{root}/")
        for folder, _, names in os.walk(root)
        for name in sorted(names)
        if not name.startswith(".")
    )
    endings: dict[str, str] = {}
    for path in islice(files, LOOKED_AT):
        endings.setdefault(os.path.splitext(path)[1].lower(), path)
    if not endings:
        return "there is no file"
    told = "there are other files, e.g. " + ", ".join(list(endings.values())[:3])
    if endings.keys() & IMAGES:
        return f"{told}. Frames that were taken out of videos are not read: `root` is a folder of the videos themselves"
    return f"{told}. Unpack them first" if any(is_archive(path) for path in endings.values()) else told


def _search(folder: str, prefix: str, endings: tuple[str, ...], above: tuple[Place, ...], found: list[str]) -> None:
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name == "lost+found":
                continue
            # what a link leads to is not looked up here: a folder of links would cost a call to the server for each
            if name.lower().endswith(endings) and (entry.is_symlink() or entry.is_file()):
                found.append(prefix + name)
            elif entry.is_dir():
                folders.append(name)
    for name in sorted(folders):
        _search(f"{folder}/{name}", f"{prefix}{name}/", endings, (*above, here), found)


def _is_unicode(path: str) -> bool:
    """Whether a name is text; other bytes come as lone surrogates, which no csv can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
