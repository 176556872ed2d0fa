"""Videos as archives hold them and encoders do not write them by default: made with PyAV, or damaged afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Disposition

RATE = 25
SAMPLES = 44_100
DEFAULTS = {
    "libx264": {"g": "10", "bf": "0", "sc_threshold": "0", "crf": "12", "preset": "veryfast", "threads": "1"},
    "ffv1": {},
}
OLD = {"g": "10", "bf": "0", "sc_threshold": "1000000000", "qscale": "2", "flags": "+qscale"}
"""Of MPEG-1, 2 and 4: one keyframe in ten."""


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    *,
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    cover: str = "",
    tone: tuple[str, float] | None = None,
    layout: str = "",
    title: bytes = b"",
) -> Path:
    """Encode uint8 (T, H, W, 3) RGB frames; the container follows the suffix.

    `times`: when each frame is shown, in 1/25 s; none: 0, 1, 2 and so on. `rotation`: see tests.videos. `cover`: a
    still picture as a video stream of its own, "before" or "after" the video's. `tone`: a stream of sound, "before" or
    "after" the video's of so many seconds. `layout`: FFmpeg's `movflags` of an MP4 file. `title`: in whatever encoding.
    """
    with av.open(str(path), "w", options={"movflags": layout} if layout else {}) as container:
        if title:
            container.metadata["title"] = "#" * len(title)
        extra = [_cover(container)] if cover == "before" else []
        extra += [_tone(container, tone[1])] if tone and tone[0] == "before" else []
        settings = {**DEFAULTS.get(codec, OLD), **(options or {})}
        stream = container.add_stream(codec, rate=RATE, options=settings)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        extra += [_cover(container)] if cover == "after" else []
        extra += [_tone(container, tone[1])] if tone and tone[0] == "after" else []
        for other, parts in extra:
            for part in parts:
                container.mux(other.encode(part))
            container.mux(other.encode())
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.time_base, picture.pts = Fraction(1, RATE), number if times is None else times[number]
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    if title:
        path.write_bytes(path.read_bytes().replace(b"#" * len(title), title))
    return path


def told_apart(count: int, height: int, width: int) -> np.ndarray:
    """uint8 (count, height, width, 3): frames of random blocks, each unlike every other, in grey and small as well."""
    blocks = np.random.default_rng(0).integers(40, 216, (count, height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]


def _cover(container: OutputContainer) -> tuple[Any, list[av.VideoFrame]]:
    stream = container.add_stream("mjpeg", rate=1)
    stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    return stream, [av.VideoFrame.from_ndarray(np.full((32, 48, 3), 200, np.uint8), format="rgb24")]


def _tone(container: OutputContainer, seconds: float) -> tuple[Any, list[av.AudioFrame]]:
    stream = container.add_stream("aac", rate=SAMPLES)
    parts = []
    for start in range(0, int(seconds * SAMPLES), 1024):
        wave = np.sin(np.arange(start, start + 1024) * 0.05).astype(np.float32)
        part = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        part.rate, part.pts = SAMPLES, start
        parts.append(part)
    return stream, parts


# --- what happens to files afterwards ---------------------------------------------------------------


def cut(path: Path, share: float) -> Path:
    """The file without its end."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def scratch(path: Path, share: float, count: int = 400) -> Path:
    """The file with noise in the place of `count` bytes."""
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    data[start : start + count] = np.random.default_rng(1).bytes(count)
    path.write_bytes(data)
    return path


def claim_frames(path: Path, count: int) -> Path:
    """An AVI file whose headers state another number of frames."""
    data = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 24), (b"strh", 40)):
        place = data.index(name) + offset
        data[place : place + 4] = count.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def start_at(path: Path, frame: int) -> Path:
    """An MP4 file whose edit list tells a player to begin with a later frame."""
    data = bytearray(path.read_bytes())
    scale = int.from_bytes(data[(place := data.index(b"mdhd") + 16) : place + 4], "big")
    start = data.index(b"elst") + 16
    earlier = int.from_bytes(data[start : start + 4], "big")
    data[start : start + 4] = (earlier + frame * scale // RATE).to_bytes(4, "big")
    path.write_bytes(data)
    return path
