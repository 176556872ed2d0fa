"""What a container says about its frames before any is decoded: their times, and where decoding can start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import av
from av.video.frame import VideoFrame


class Facts(NamedTuple):
    """What decides how a video is read."""

    height: int
    width: int
    """Size of the upright image."""
    turned: bool
    """Whether the container asks to turn the stored image."""
    timed: bool
    """Whether the container's presentation times are right."""
    closed: bool
    """Whether no frame shown before a keyframe is stored after it."""


@dataclass(frozen=True)
class Timetable:
    """Presentation times of all frames in the order shown; empty where the container has no reliable ones."""

    times: list[int]
    keys: list[tuple[int, int]]
    """Keyframes: number of the frame in the order shown, and the decoding time to seek to."""
    closed: bool
    """Whether no frame shown before a keyframe is stored after it."""


def read_facts(path: str) -> Facts:
    """Decodes one frame at most; remembered by this process until the file changes.

    Raises OSError, av.FFmpegError, IndexError (no video stream) or StopIteration (no frame).
    """
    status = os.stat(path)
    return _read_facts(path, status.st_size, status.st_mtime_ns)


# a training opens each video hundreds of times, and looking takes up to a fifth of reading a clip
@lru_cache(maxsize=1 << 16)
def _read_facts(path: str, size: int, changed: int) -> Facts:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frame = next(container.decode(stream))
        reordered = stream.codec_context.has_b_frames
    turns = quarter_turns(frame)
    height, width = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
    table = read_timetable(path) if reordered else None
    return Facts(height, width, turns > 0, table is None or bool(table.times), table is None or table.closed)


def read_timetable(path: str) -> Timetable:
    """Reads all packets and decodes none. Raises av.FFmpegError or IndexError (no video stream)."""
    with av.open(path) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        guessed = container.format.name == "avi"  # an AVI file has no times, and FFmpeg's guesses are wrong at times
    # presentation time, decoding time, is a keyframe; in the order stored
    entries = [(p.pts, p.dts, p.is_keyframe) for p in packets if p.pts is not None and p.dts is not None]
    times = sorted(shown for shown, _, _ in entries)
    number = {time: position for position, time in enumerate(times)}
    keys = [(number[shown], stored) for shown, stored, is_key in entries if is_key]
    unique = len(number) == len(packets)
    ordered = not guessed or all(shown == stored for shown, stored, _ in entries)
    if not (unique and ordered and keys and keys[0][0] == 0):
        return Timetable([], [], False)
    places = [position for position, (_, _, is_key) in enumerate(entries) if is_key]
    return Timetable(times, sorted(keys), [position for position, _ in keys] == places)


def quarter_turns(frame: VideoFrame) -> int:
    """How often the image is turned by 90 degrees, counter-clockwise, to stand upright."""
    return round(frame.rotation / 90) % 4
