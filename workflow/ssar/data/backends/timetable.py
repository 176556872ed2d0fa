"""What a container says about its frames before any is decoded: their times, and where decoding can start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# as FFmpeg names them; the streams of television (MPEG-PS and -TS) and others cannot be sought in exactly
MATROSKA = "matroska,webm"
SEEKABLE = frozenset({"avi", "flv", MATROSKA, "mov,mp4,m4a,3gp,3g2,mj2"})
# measured: of others, e.g. of 10 bits, the decoders make RGB that differs by up to 60 of 255
ALIKE_PIXELS = frozenset({"bgr0", "gray", "rgb24", "yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"})
H264_RESTART = 5  # type of the unit that holds an IDR picture


class Facts(NamedTuple):
    """What decides how a video is read."""

    height: int
    width: int
    """Size of the upright image."""
    turned: bool
    """Whether the container asks to turn the stored image."""
    timed: bool
    """Whether the container's presentation times are right, and can be sought."""
    closed: bool
    """Whether no frame shown before a keyframe is stored after it."""
    alike: bool
    """Whether all decoders turn its pixels into the same RGB: even sides, progressive, a common pixel format."""


@dataclass(frozen=True)
class Timetable:
    """When the frames of a video are shown."""

    times: list[int]
    """Presentation times in the order shown; empty where the container has no reliable ones."""
    keys: list[tuple[int, int]]
    """Keyframes: number of the frame in the order shown, and the time to seek to."""
    closed: bool
    """Whether no frame shown before a keyframe is stored after it."""
    fresh: bool
    """Whether nothing that is stored before a keyframe matters to the decoder after it."""
    count: int
    """Frames that are stored and to be shown, whether they decode or not."""


def read_facts(path: str) -> Facts:
    """Decodes one frame at most; remembered by this process until the file changes.

    Raises OSError, av.FFmpegError, IndexError (no video stream) or StopIteration (no frame).
    """
    status = os.stat(path)
    return _read_facts(path, status.st_size, status.st_mtime_ns)


# a training opens each video hundreds of times, and looking takes up to a fifth of reading a clip
@lru_cache(maxsize=1 << 16)
def _read_facts(path: str, size: int, changed: int) -> Facts:
    facts, reordered = _first(path)
    if not (reordered and facts.timed):
        return facts
    # the first decoder is gone by now: with two at once the C library's heap grew by 30 kB with each video
    table = read_timetable(path)
    timed = bool(table.times) and table.fresh
    return facts._replace(timed=timed, closed=timed and table.closed)


def _first(path: str) -> tuple[Facts, bool]:
    """What the first frame tells, and whether frames are stored in another order than shown.

    Raises StopIteration where no frame decodes.
    """
    with open_container(path) as container:
        stream = video_stream(container)
        # what an edit list cuts away at the start, decord counts after seeking
        whole = True
        for packet in container.demux(stream):
            whole = whole and not packet.is_discard
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                turns = quarter_turns(frame)
                height, width = (frame.height, frame.width)[:: -1 if turns % 2 else 1]
                even = height % 2 == 0 and width % 2 == 0
                alike = even and not frame.interlaced_frame and frame.format.name in ALIKE_PIXELS
                seekable = whole and container.format.name in SEEKABLE
                facts = Facts(height, width, turns > 0, timed=seekable, closed=seekable, alike=alike)
                return facts, stream.codec_context.has_b_frames
    raise StopIteration("no frame decodes")


def open_container(path: str) -> InputContainer:
    """A file to read frames from. Its title and comments, which nothing here reads, may be in any encoding.

    Raises av.FFmpegError.
    """
    return av.open(path, metadata_errors="replace")


def video_stream(container: InputContainer) -> VideoStream:
    """The stream that every decoder takes for the video: no cover picture. It will decode on one thread.

    Raises IndexError where there is none.
    """
    stream = container.streams.best("video")
    if stream is None:
        raise IndexError("no video stream in the file")
    assert isinstance(stream, VideoStream)
    stream.codec_context.thread_count = 1
    return stream


def read_timetable(path: str) -> Timetable:
    """Reads all packets and decodes none. Raises av.FFmpegError or IndexError (no video stream)."""
    entries: list[tuple[int | None, int | None, bool]] = []
    fresh = True
    with open_container(path) as container:
        stream, name = video_stream(container), container.format.name
        prefix = _length_prefix(stream.codec_context.extradata)
        idr = stream.codec_context.name == "h264"
        for packet in container.demux(stream):
            # packets that an edit list cuts away are decoded, but not shown
            if packet.size and not packet.is_discard:
                # Matroska is sought by the times at which frames are shown
                seek = packet.pts if packet.dts is None or name == MATROSKA else packet.dts
                entries.append((packet.pts, seek, packet.is_keyframe))
                fresh = fresh and not (idr and packet.is_keyframe and not _restarts(packet, prefix))
    # presentation time, time to seek to, is a keyframe; in the order stored
    known = [(shown, stored, is_key) for shown, stored, is_key in entries if shown is not None and stored is not None]
    times = sorted(shown for shown, _, _ in known)
    number = {time: position for position, time in enumerate(times)}
    keys = [(number[shown], stored) for shown, stored, is_key in known if is_key]
    unique = len(number) == len(entries)
    # an AVI file has no presentation times, and FFmpeg's guesses are wrong at times
    ordered = name != "avi" or all(shown == stored for shown, stored, _ in known)
    if not (name in SEEKABLE and unique and ordered and keys and keys[0][0] == 0):
        return Timetable([], [], closed=False, fresh=False, count=len(entries))
    places = [position for position, (_, _, is_key) in enumerate(known) if is_key]
    closed = [position for position, _ in keys] == places
    return Timetable(times, sorted(keys), closed, fresh, len(entries))


def _length_prefix(extradata: bytes | None) -> int:
    """Bytes that give the length of each H.264 unit in a packet; 0 where a start code parts them."""
    return (extradata[4] & 3) + 1 if extradata and extradata[0] == 1 else 0


def _restarts(packet: Packet, prefix: int) -> bool:
    """Whether a keyframe of H.264 clears the decoder.

    Encoders with open groups of pictures mark others, too; after seeking to those, FFmpeg drops or holds frames.
    """
    data = bytes(packet)
    if not prefix:
        return any(part and part[0] & 31 == H264_RESTART for part in data.split(b"\0\0\1")[1:])
    place = 0
    while place + prefix < len(data):
        if data[place + prefix] & 31 == H264_RESTART:
            return True
        place += prefix + int.from_bytes(data[place : place + prefix], "big")
    return False


def quarter_turns(frame: VideoFrame) -> int:
    """How often the image is turned by 90 degrees, counter-clockwise, to stand upright."""
    return round(frame.rotation / 90) % 4
