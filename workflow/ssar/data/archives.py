"""Unpacking downloaded archives: zip, tar (compressed or not, whatever its name says) and rar, also nested.

Nothing appears before a whole archive has been read and its checksums compared, and nothing is written outside the
folder, whatever an archive says.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ssar.data.rar import RarError, contents, refuse_names, unpack_rar
from ssar.data.signatures import DAMAGE, is_archive, open_tar
from ssar.disk import is_full
from ssar.errors import UserError

BLOCK = 1 << 20
DEPTH = 3
"""Archives in archives: HMDB-51 is a rar of rars."""


class DamagedError(UserError):
    """An archive that cannot be read to its end."""


def unpack(archive: Path, folder: Path, staging: Path | None = None) -> int:
    """Unpack an archive, and the archives in it, into a folder; returns the number of files.

    `staging` is a folder of this archive alone on the same file system, emptied first and gone afterwards; none: one
    in `folder`, to which then no other archive may be unpacked at the same time.
    Raises DamagedError for an archive that cannot be read, and UserError for one that reaches outside its folder, for a
    full disk, and for a missing program.
    """
    staging = staging or folder / ".unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        _unpack(archive, staging, DEPTH)
        return _move(staging, folder)
    except OSError as error:
        if is_full(error):
            raise UserError(
                f"{folder}: {error.strerror} while {archive.name} was unpacked; make room, then give the same command "
                "again: it continues with this archive"
            ) from None
        raise UserError(f"{error.filename or archive}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def unpacked_size(archive: Path) -> int:
    """Bytes that an archive needs unpacked: zip and rar say so, a tar is taken for as large as it is packed."""
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as pack:
                return sum(entry.file_size for entry in pack.infolist())
        if archive.name.lower().endswith(".rar"):
            return sum(size for size, _ in contents(archive))
    except (zipfile.BadZipFile, RarError, OSError):
        pass  # told when it is unpacked
    return archive.stat().st_size


def _unpack(archive: Path, folder: Path, depth: int) -> None:
    """Unpack into an empty folder."""
    try:
        if archive.name.lower().endswith(".rar"):
            unpack_rar(archive, folder)
            _plain_files(archive, folder)
        elif archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as pack:
                _write(archive, folder, _zip_members(archive, pack))
        else:
            with open_tar(archive) as tar:
                _write(archive, folder, _tar_members(archive, tar))
    except (*DAMAGE, RarError) as error:
        raise DamagedError(f"{archive} cannot be unpacked: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise DamagedError(f"{archive} cannot be unpacked: {error}") from None
    _unpack_nested(archive, folder, depth)


def _unpack_nested(archive: Path, folder: Path, depth: int) -> None:
    """Unpack the archives in an unpacked folder in their places.

    Files at the top of `brush_hair.rar` go to `brush_hair/`. Where that folder is there already, the archive is a
    second copy of it.
    """
    inner_archives = sorted(path for path in folder.rglob("*") if is_archive(path.name) and path.is_file())
    folders = {path.name for path in folder.rglob("*") if path.is_dir()}
    if inner_archives and not depth:
        raise UserError(f"{archive}: archives in archives in archives, more than {DEPTH} deep; do not use this archive")
    for inner in inner_archives:
        stem = inner.name.split(".")[0]
        if stem not in folders:
            inside = inner.with_name(f".{inner.name}-content")
            inside.mkdir()
            _unpack(inner, inside, depth - 1)
            flat = any(path.is_file() for path in inside.iterdir())
            _move(inside, inner.parent / stem if flat else inner.parent)
            shutil.rmtree(inside)
        inner.unlink()


def _write(archive: Path, folder: Path, members: Iterator[tuple[str, IO[bytes]]]) -> None:
    for name, content in members:
        target = folder / _place(archive, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, open(target, "wb") as file:
            shutil.copyfileobj(content, file, BLOCK)


def _place(archive: Path, name: str) -> PurePosixPath:
    """A member's path, if it stays inside the folder that it is unpacked to."""
    refuse_names(archive, [name])
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts:
        raise DamagedError(f"{archive} cannot be unpacked: a file in it has no name")
    return path


def _zip_members(archive: Path, pack: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file; a link inside the archive is what it leads to."""
    for entry in pack.infolist():
        mode = entry.external_attr >> 16
        if entry.is_dir() or _is_litter(entry.filename):
            continue
        if stat.S_ISLNK(mode):
            target = _link(archive, entry.filename, os.fsdecode(pack.read(entry)))
            if target in pack.NameToInfo:
                yield entry.filename, pack.open(target)
        elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _special(archive, entry.filename)
        else:
            yield entry.filename, pack.open(entry)


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file; a link inside the archive is what it leads to."""
    for member in tar:
        if member.isdir() or _is_litter(member.name):
            continue
        if member.issym():
            _link(archive, member.name, member.linkname)
        elif member.islnk():
            refuse_names(archive, [member.linkname])
        elif not member.isreg():
            raise _special(archive, member.name)
        try:
            content = tar.extractfile(member)
        except KeyError:  # a link to a file that is not in the archive
            continue
        if content is not None:
            yield member.name, content


def _link(archive: Path, name: str, target: str) -> str:
    """The path in the archive that a symbolic link leads to. Raises UserError if it leads out of the archive."""
    path = os.path.normpath(PurePosixPath(name).parent / target)
    if target.startswith("/") or path.split("/")[0] == "..":
        raise UserError(
            f"{archive}: the link `{name}` leads outside the folder, to `{target}`; do not use this archive"
        )
    return path


def _special(archive: Path, name: str) -> UserError:
    return UserError(f"{archive}: `{name}` is a device or a pipe; do not use this archive")


def _is_litter(name: str) -> bool:
    """What macOS adds to archives."""
    return name.startswith("__MACOSX/")


def _plain_files(archive: Path, folder: Path) -> None:
    """Check what a program unpacked, and leave plain files that their owner can read."""
    home = folder.resolve()
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            target = path.resolve()
            if not target.is_relative_to(home):
                raise UserError(
                    f"{archive}: the link `{path.relative_to(folder)}` leads outside the folder, to "
                    f"`{os.readlink(path)}`; do not use this archive"
                )
            path.unlink()
            if target.is_file():
                shutil.copyfile(target, path)
        elif not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise _special(archive, str(path.relative_to(folder)))
        else:
            path.chmod(stat.S_IMODE(mode) | (0o700 if stat.S_ISDIR(mode) else 0o600))


def _move(source: Path, folder: Path) -> int:
    """Move all files below one folder to the same places below another one; returns their number."""
    count = 0
    for path in sorted(source.rglob("*")):
        target = folder / path.relative_to(source)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            count += 1
    return count
