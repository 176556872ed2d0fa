"""Unpacking rar archives, which needs a program: Python has no reader of its own.

What the program has unpacked is compared with the checksums in the archive, since not every program does so itself:
bsdtar passes over a wrong one.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import struct
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ssar.errors import UserError

PACKAGES = "bsdtar (Debian: libarchive-tools, conda-forge: libarchive), unar (both: unar) or unrar"
BLOCK = 1 << 20
EARLY = "it ends too early, or its headers are damaged"

FULL = re.compile("no space|not enough space|disk full|quota|write error|failed to write", re.IGNORECASE)
"""How programs tell that the disk is full."""

Content = tuple[int, int]
"""Size and crc32 of a file."""


@dataclass(frozen=True)
class Tool:
    """A program that reads rar: how it lists the names in an archive, a line each, and how it unpacks them."""

    listing: Sequence[str]
    unpacking: Sequence[str]
    skipped: int = 0
    """Lines before the first name."""

    @property
    def name(self) -> str:
        return self.unpacking[0]

    @property
    def installed(self) -> bool:
        return all(shutil.which(command[0]) for command in (self.listing, self.unpacking))


TOOLS = (
    Tool(
        ("bsdtar", "-tf", "{archive}"),
        ("bsdtar", "-x", "--no-same-owner", "--no-same-permissions", "-f", "{archive}", "-C", "{folder}"),
    ),
    Tool(
        ("lsar", "{archive}"),
        ("unar", "-quiet", "-force-overwrite", "-no-directory", "-output-directory", "{folder}", "{archive}"),
        skipped=1,
    ),
    Tool(("unrar", "lb", "-p-", "{archive}"), ("unrar", "x", "-o+", "-idq", "-p-", "{archive}", "{folder}/")),
)


class RarError(Exception):
    """An archive that cannot be read, or that no installed program can unpack; the message has what each said."""


def missing_tool() -> str | None:
    """What to install when there is no program for rar; None when there is one."""
    if any(tool.installed for tool in TOOLS):
        return None
    names = ", ".join(tool.name for tool in TOOLS)
    return f"unpacking a rar needs one of {names}; install {PACKAGES}"


def unpack_rar(archive: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder with the first installed program that does it rightly.

    Raises UserError where none is installed or a name leads out of the folder, RarError where all fail, and OSError
    where the disk is full.
    """
    if (problem := missing_tool()) is not None:
        raise UserError(f"{archive}: {problem}, or give the dataset a mirror that is a zip")
    wanted = set(contents(archive))
    failures = []
    for tool in TOOLS:
        if not tool.installed:
            continue
        listed = _run(tool.listing, archive, folder)
        if listed.returncode == 0:
            refuse_names(archive, listed.stdout.splitlines()[tool.skipped :])
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            done = _run(tool.unpacking, archive, folder)
            if done.returncode == 0 and wanted == set(_unpacked(folder)):
                return
            said = (done.stderr or done.stdout) if done.returncode else "files differ from their checksums"
            if done.returncode and FULL.search(said):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        else:
            said = listed.stderr or listed.stdout
        failures.append(f"{tool.name}: {said.strip()[-300:]}")
    raise RarError("; ".join(failures))


def refuse_names(archive: Path, names: Sequence[str]) -> None:
    """Raise UserError for names that lead out of the folder that an archive is unpacked to."""
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise UserError(f"{archive}: `{name}` would be written outside the folder; do not use this archive")


def contents(archive: Path) -> Iterator[Content]:
    """Size and crc32 of every file, as the archive's headers (version 4 or 5) state them; links are left out.

    Raises RarError for headers that are damaged, encrypted, or of one volume of several.
    """
    end = archive.stat().st_size
    with open(archive, "rb") as file:
        start = file.read(8)
        try:
            if start.startswith(b"Rar!\x1a\x07\x00"):
                file.seek(7)
                yield from _version_4(file, end)
            elif start == b"Rar!\x1a\x07\x01\x00":
                yield from _version_5(file, end)
            else:
                raise RarError("it is no rar archive")
        except (struct.error, IndexError):
            raise RarError(EARLY) from None


def _version_4(file: IO[bytes], end: int) -> Iterator[Content]:
    # old archives have no block that marks their end
    while (start := file.tell()) != end:
        if start > end:
            raise RarError(EARLY)
        checksum, kind, flags, size = struct.unpack("<HBHH", file.read(7))
        head = struct.pack("<BHH", kind, flags, size) + file.read(size - 7)
        if kind == 0x7B:
            return
        if kind in (0x73, 0x74) and zlib.crc32(head) & 0xFFFF != checksum:
            raise RarError("a header is damaged")
        if kind == 0x73 and flags & 0x81:
            raise RarError("it is encrypted, or one of several volumes")
        packed = struct.unpack_from("<I", head, 5)[0] if flags & 0x8000 else 0
        if kind == 0x74:
            unpacked, system, crc = struct.unpack_from("<IBI", head, 9)
            mode = struct.unpack_from("<I", head, 26)[0]
            if flags & 0x100:
                high_packed, high_unpacked = struct.unpack_from("<II", head, 30)
                packed, unpacked = packed + (high_packed << 32), unpacked + (high_unpacked << 32)
            folder, link = flags & 0xE0 == 0xE0, system == 3 and stat.S_ISLNK(mode)
            if not folder and not link:
                yield unpacked, crc
        file.seek(start + size + packed)


def _version_5(file: IO[bytes], end: int) -> Iterator[Content]:
    while file.tell() < end:
        (checksum,) = struct.unpack("<I", file.read(4))
        length = _read_number(file)
        start = file.tell()
        head = file.read(length)
        if zlib.crc32(_number_bytes(length) + head) != checksum:
            raise RarError("a header is damaged")
        fields = _Fields(head)
        kind, flags = fields.number(), fields.number()
        extra = fields.number() if flags & 1 else 0
        data = fields.number() if flags & 2 else 0
        if kind == 5:
            return
        if kind == 4 or (kind == 1 and fields.number() & 1):
            raise RarError("it is encrypted, or one of several volumes")
        if kind == 2:
            about, unpacked, _mode = fields.number(), fields.number(), fields.number()
            fields.place += 4 if about & 2 else 0
            crc = struct.unpack_from("<I", head, fields.place)[0] if about & 4 else None
            # a record of type 5 in the extra area makes it a link
            link = extra and 5 in _record_kinds(head[len(head) - extra :])
            if crc is None and not about & 1 and not link:
                raise RarError("a file in it has no crc32")
            if crc is not None and not about & 1 and not link:
                yield unpacked, crc
        file.seek(start + length + data)
    raise RarError(EARLY)


class _Fields:
    """Reads the numbers of a header of version 5: seven bits a byte, the lowest first."""

    def __init__(self, head: bytes) -> None:
        self.head, self.place = head, 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.head[self.place]
            self.place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def _read_number(file: IO[bytes]) -> int:
    found = file.read(1)
    while found[-1] >= 0x80:
        found += file.read(1)
    return _Fields(found).number()


def _number_bytes(value: int) -> bytes:
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def _record_kinds(extra: bytes) -> Iterator[int]:
    fields = _Fields(extra)
    while fields.place < len(extra):
        size = fields.number()
        end = fields.place + size
        yield fields.number()
        fields.place = end


def _unpacked(folder: Path) -> Iterator[Content]:
    for path in folder.rglob("*"):
        if stat.S_ISREG(path.lstat().st_mode):
            size = crc = 0
            with open(path, "rb") as file:
                while block := file.read(BLOCK):
                    size, crc = size + len(block), zlib.crc32(block, crc)
            yield size, crc


def _run(command: Sequence[str], archive: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [word.format(archive=archive, folder=folder) for word in command]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment
    )
