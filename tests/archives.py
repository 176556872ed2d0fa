"""Archives for the tests. Rars, which only a program that is not free can pack, are written by hand, uncompressed."""

from __future__ import annotations

import io
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

UNIX = 3
STORED = 0x30
LINK = 0o120777
FILE = 0o100644


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of uncompressed files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in files.items():
            pack.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar; `mode` is that of `tarfile.open`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as pack:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            pack.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def rar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A rar (version 4) of uncompressed files and symbolic links."""
    parts = [b"Rar!\x1a\x07\x00", _block(0x73, 0, struct.pack("<HI", 0, 0))]
    for name, content in files.items():
        parts.append(_entry(name, content, FILE))
    for name, target in (links or {}).items():
        parts.append(_entry(name, target.encode(), LINK))
    return b"".join([*parts, _block(0x7B, 0x4000, b"")])


def rar5(files: dict[str, bytes]) -> bytes:
    """A rar (version 5) of uncompressed files."""
    parts = [b"Rar!\x1a\x07\x01\x00", _block5(bytes([1, 0, 0]))]
    for name, content in files.items():
        size = _number(len(content))
        about = bytes([2, 2]) + size + bytes([4]) + size + _number(FILE) + struct.pack("<I", zlib.crc32(content))
        parts += [_block5(about + bytes([0, 1]) + _number(len(name)) + name.encode()), content]
    return b"".join([*parts, _block5(bytes([5, 0, 0]))])


def _block5(fields: bytes) -> bytes:
    head = _number(len(fields)) + fields
    return struct.pack("<I", zlib.crc32(head)) + head


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = b""
    while value >= 0x80:
        found += bytes([value & 0x7F | 0x80])
        value >>= 7
    return found + bytes([value])


def _entry(name: str, content: bytes, mode: int) -> bytes:
    name = name.replace("/", "\\")  # as this version writes paths on every system
    fields = struct.pack(
        "<IIBIIBBHI", len(content), len(content), UNIX, zlib.crc32(content), 0x4A210000, 20, STORED, len(name), mode
    )
    return _block(0x74, 0x8000, fields + name.encode()) + content


def _block(kind: int, flags: int, fields: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack what `rar` has packed; returns the names."""
    data, place, names = archive.read_bytes(), 7, []
    while data[place + 2] != 0x7B:
        kind, size = data[place + 2], struct.unpack_from("<H", data, place + 5)[0]
        packed = struct.unpack_from("<I", data, place + 7)[0] if kind == 0x74 else 0
        if kind == 0x74:
            name = data[place + 32 : place + size].decode().replace("\\", "/")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data[place + size : place + size + packed])
            names.append(name)
        place += size + packed
    return names


def main() -> None:
    """Stands in for `unrar lb ARCHIVE` and `unrar x ARCHIVE FOLDER`, options aside."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    with tempfile.TemporaryDirectory() as temporary:
        names = unpack(Path(words[1]), Path(words[2]) if words[0] == "x" else Path(temporary))
    if words[0] == "lb":
        print("\n".join(names))


if __name__ == "__main__":
    main()
