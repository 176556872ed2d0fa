"""What a container says about its frames before any is decoded: their times, and where decoding can start."""

from __future__ import annotations

from dataclasses import dataclass

import av
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Header:
    """The upright size of a video, and whether its frames may be stored in another order than shown."""

    height: int
    width: int
    reordered: bool


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
        height, width = (frame.height, frame.width) if quarter_turns(frame) % 2 == 0 else (frame.width, frame.height)
        return Header(height, width, stream.codec_context.has_b_frames)


def read_timetable(path: str) -> Timetable:
    """Reads all packets and decodes none. Raises av.FFmpegError or IndexError (no video stream)."""
    with av.open(path) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        entries = [(packet.pts, packet.dts, packet.is_keyframe) for packet in packets]
        guessed = container.format.name == "avi"  # an AVI file has no times, and FFmpeg's guesses are wrong at times
    unknown = Timetable([], [], False)
    if any(pts is None or dts is None for pts, dts, _ in entries) or len({pts for pts, _, _ in entries}) < len(entries):
        return unknown
    if guessed and any(pts != dts for pts, dts, _ in entries):
        return unknown
    times = sorted(pts for pts, _, _ in entries)
    number = {pts: position for position, pts in enumerate(times)}
    keys = [(number[pts], dts) for pts, dts, is_key in entries if is_key]
    stored = [position for position, (_, _, is_key) in enumerate(entries) if is_key]
    if not keys or keys[0][0] != 0:
        return unknown
    return Timetable(times, sorted(keys), [shown for shown, _ in keys] == stored)


def quarter_turns(frame: VideoFrame) -> int:
    """How often the image is turned by 90 degrees, counter-clockwise, to stand upright."""
    return round(frame.rotation / 90) % 4
