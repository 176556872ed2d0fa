"""The files of published lists: local ones, and those that are fetched from where they are published."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from ssar.config import ListFile
from ssar.data.archives import unpack
from ssar.data.download import fetch_file
from ssar.errors import UserError
from ssar.files import sha256
from ssar.project import ROOT

ARCHIVE = ".zip"


def list_path(item: ListFile) -> Path:
    """Where a list lies, or will lie."""
    return ROOT / Path(os.path.expandvars(item.path)).expanduser()


def local_list(item: ListFile) -> Path:
    """Where a list lies; fetched from its address if it is not there.

    Raises UserError: no such list and no address, a file with another checksum than the configuration states, an
    address that gives nothing or something else.
    """
    path = list_path(item)
    if not path.exists():
        if item.url is None:
            raise UserError(f"no such list: {path}; correct `path` or give the list a `url`")
        _fetch(item, item.url, path)
    elif item.sha256 and path.is_file() and (found := sha256(path)) != item.sha256:
        advice = "move it away to have it fetched again, or" if item.url else "if it is the one you mean,"
        raise UserError(
            f"{path} has sha256 {found}, the configuration says {item.sha256}: another version of the list; {advice} "
            f"set its `sha256`"
        )
    return path


def _fetch(item: ListFile, url: str, path: Path) -> None:
    """Fetch a list; an archive of many lists is unpacked into the folder `path`."""
    if not urlsplit(url).path.lower().endswith(ARCHIVE):
        fetch_file([url], path, sha256=item.sha256)
        return
    archive = path.with_name(path.name + ARCHIVE)
    fetch_file([url], archive, sha256=item.sha256)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        unpack(archive, folder)
        folder.chmod(0o755)
        folder.replace(path)  # whole or not at all
    except OSError:
        if not path.is_dir():  # another job that reads the same archive may have been first
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
