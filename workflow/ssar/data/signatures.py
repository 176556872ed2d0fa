"""What a file of some name must begin with, and whether an archive is whole: for files without a published checksum."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from ssar.data.rar import RarError, contents

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ENDINGS = (".zip", ".rar", *TARS)
HEAD = 512
"""Bytes that tell what a file is: a tar's first header has so many."""

DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, RuntimeError)
"""What the readers of archives raise for one that is damaged, or a RuntimeError for one that is encrypted or packed by
an unknown method; bz2 raises an OSError without a number."""

_COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
WEB_PAGE = "the server sends a web page instead of the file"
_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
_BLOCK = 1 << 20


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(ENDINGS)


def strange_start(name: str, head: bytes) -> str | None:
    """Why a file with these first bytes (512, or all) cannot be what its name says; None if it can.

    A tar may be compressed or not, whatever its name says about it.
    """
    kind = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
    if kind == ".zip":
        right = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    elif kind == ".rar":
        right = head.startswith(b"Rar!\x1a\x07")
    elif kind is not None:
        right = head.startswith(tuple(_COMPRESSED)) or _is_tar(head)
    else:
        right = True
    if head.lstrip()[:9].lower().startswith(_PAGE):
        return WEB_PAGE
    return None if right else f"the content is no {kind} archive; it begins with {head[:8]!r}"


def archive_fault(path: Path, name: str) -> str | None:
    """What is wrong with a file that has no checksum; an archive is read to its end.

    Checked are the checksums inside of zip, gzip, bzip2 and xz. A plain tar has none for its content, and of a rar only
    the headers can be read here: its content is compared when it is unpacked.
    """
    with open(path, "rb") as file:
        problem = strange_start(name, file.read(HEAD))
    if problem is not None or not is_archive(name):
        return problem
    try:
        if name.lower().endswith(".rar"):
            for _ in contents(path):
                pass
        elif name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as pack:
                broken = pack.testzip()
            return f"the archive is damaged: {broken} in it" if broken else None
        else:
            with open_tar(path) as tar:
                for _ in tar:
                    pass
    except (*DAMAGE, RarError) as error:
        return f"the archive is damaged: {error}"
    except OSError as error:
        if error.errno is not None:
            raise
        return f"the archive is damaged: {error}"
    return None


class _Header(tarfile.TarInfo):
    """A member of a tar. A damaged header is an error; tarfile takes one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar, compressed or not. At the end of the block the rest is read, so that its checksum has been compared."""
    with open(path, "rb") as file:
        head = file.read(6)
    compressed = (opener for start, opener in _COMPRESSED.items() if head.startswith(start))
    stream: IO[bytes] = next(compressed, open)(path, "rb")
    with stream:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as tar:
            yield tar
        # tarfile stops at the mark that ends the archive, which lies before the end of a compressed stream
        while stream.read(_BLOCK):
            pass


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:HEAD].ljust(HEAD, b"\0"), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
