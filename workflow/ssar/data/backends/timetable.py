"""What a container says about its frames before any is decoded: their times, and where decoding can start."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Header:
    """What the first frame of a video shows."""

    height: int
    width: int
    """Size of the upright image."""
    turned: bool
    """Whether the container asks to turn the stored image."""
    reordered: bool
    """Whether frames may be stored in another order than shown."""


@dataclass(frozen=True)
class Timetable:
    """Presentation times of all frames in the order shown; empty where the container has no reliable ones."""

    times: list[int]
    keys: list[tuple[int, int]]
    """Keyframes: number of the frame in the order shown, and the decoding time to seek to."""
    closed: bool
    """Whether no frame shown before a keyframe is stored after it."""


def read_header(path: str) -> Header:
    """Decodes one frame. Raises av.FFmpegError, IndexError (no video stream) or StopIteration (no frame)."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frame = next(container.decode(stream))
        turns = quarter_turns(frame)
        height, width = (frame.width, frame.height) if turns % 2 else (frame.height, frame.width)
        return Header(height, width, turns > 0, stream.codec_context.has_b_frames)


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
