"""Unpacking downloaded archives: zip, tar (compressed or not, whatever its name says) and rar, also nested."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ssar.errors import UserError
from ssar.files import atomic

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar")
RAR_TOOLS = {
    "bsdtar": ["bsdtar", "-xf", "{archive}", "-C", "{folder}"],
    "unrar": ["unrar", "x", "-o+", "-idq", "{archive}", "{folder}/"],
    "unar": ["unar", "-quiet", "-no-directory", "-output-directory", "{folder}", "{archive}"],
    "7z": ["7z", "x", "-y", "-bso0", "-o{folder}", "{archive}"],
}


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive and the archives in it into a folder. Raises UserError."""
    folder.mkdir(parents=True, exist_ok=True)
    nested = []
    try:
        for name, content in _contents(archive, folder):
            target = folder / _safe(name, archive)
            with atomic(target) as temporary, open(temporary, "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if is_archive(name):
                nested.append(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{archive} cannot be unpacked: {error}; delete it so that it is fetched again") from error
    for inner in nested:
        unpack(inner, inner.parent)
        inner.unlink()


def _safe(name: str, archive: Path) -> PurePosixPath:
    """A member's path, if it stays inside the folder that it is unpacked to."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UserError(f"{archive}: the member `{name}` would be written outside the folder; do not use this archive")
    return path


def _contents(archive: Path, folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every regular file of an archive."""
    name = archive.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as pack:
            for entry in pack.infolist():
                if not entry.is_dir() and not entry.filename.startswith("__MACOSX/"):
                    with pack.open(entry) as content:
                        yield entry.filename, content
    elif name.endswith(".rar"):
        yield from _rar(archive, folder)
    else:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if member.isreg() and (packed := tar.extractfile(member)) is not None:
                    yield member.name, packed


def _rar(archive: Path, folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    tool = next((name for name in RAR_TOOLS if shutil.which(name)), None)
    if tool is None:
        raise UserError(
            f"{archive}: unpacking a rar needs one of {', '.join(RAR_TOOLS)}; install one (bsdtar comes with the "
            f"package libarchive-tools), or give the dataset a mirror that is a zip"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".rar-") as temporary:
        command = [part.format(archive=archive, folder=temporary) for part in RAR_TOOLS[tool]]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if result.returncode:
            raise OSError(f"{tool} says: {result.stderr.strip() or result.stdout.strip()}")
        for path in sorted(Path(temporary).rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as content:
                    yield path.relative_to(temporary).as_posix(), content
