"""The file of one video's temporal gradients.

    8 bytes magic | 4 bytes length of the header | header (JSON) | (N + 1) uint64 offsets | N encoded frames

Numbers are little-endian, offsets count from the start of the file. Gradient t belongs to frames t and t + n.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ssar.data.tg_codec import CODECS
from ssar.errors import UserError
from ssar.files import atomic

MAGIC = b"SSAR-TG\n"

Unreadable = (OSError, ValueError, KeyError)
"""What a missing, foreign or damaged file raises."""


def write(path: Path, header: dict[str, Any], gradients: Iterable[np.ndarray]) -> None:
    """Write exactly ``header["count"]`` uint8 gradients (H, W, 3) with ``header["codec"]``, atomically."""
    encode = CODECS[header["codec"]].encode
    frames, height, width = [], 0, 0
    for frame in gradients:
        height, width = frame.shape[:2]
        frames.append(encode(frame))
    text = json.dumps({**header, "height": height, "width": width}).encode()
    head = MAGIC + struct.pack("<I", len(text)) + text
    start = len(head) + 8 * (len(frames) + 1)
    offsets = start + np.cumsum([0, *map(len, frames)], dtype="<u8")
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(head + offsets.tobytes())
        file.writelines(frames)


def holds(path: Path, header: dict[str, Any]) -> bool:
    """Whether a complete file with (at least) these header entries is there."""
    try:
        with open(path, "rb") as file:
            found, offsets = _read_head(file)
        return found | header == found and path.stat().st_size == offsets[-1]
    except Unreadable:
        return False


def read(path: Path, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Gradients at `indices`, repeated and unsorted ones allowed: uint8 (len, H, W, 3).

    Raises one of `Unreadable` for a file that cannot be read, UserError for an index that the file does not have.
    """
    wanted, position = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    with open(path, "rb") as file:
        header, offsets = _read_head(file)
        if wanted[0] < 0 or wanted[-1] >= header["count"]:
            raise UserError(f"{path} holds gradients 0 to {header['count'] - 1}, asked for {wanted[0]} to {wanted[-1]}")
        decode = CODECS[header["codec"]].decode
        frames = []
        for t in wanted:
            file.seek(offsets[t])
            frames.append(decode(file.read(offsets[t + 1] - offsets[t]), header["height"], header["width"]))
    return np.stack(frames)[position]


def _read_head(file: BinaryIO) -> tuple[dict[str, Any], np.ndarray]:
    start = file.read(len(MAGIC) + 4)
    if len(start) < len(MAGIC) + 4 or not start.startswith(MAGIC):
        raise ValueError("not a file of temporal gradients")
    header = json.loads(file.read(struct.unpack("<I", start[len(MAGIC) :])[0]))
    offsets = np.frombuffer(file.read(8 * (header["count"] + 1)), "<u8").astype(np.int64)
    if len(offsets) != header["count"] + 1:
        raise ValueError("cut short")
    return header, offsets
