"""One video written anew for fast reading: small, with many keyframes, frame i of it frame i of its source.

The encoder is libx264 in PyAV's wheel, so that nothing has to be installed. Without B-frames frames are stored in the
order in which they are shown, and no group of pictures needs another one: every decoder seeks rightly. CABAC and the
deblocking filter are off (x264's `fastdecode`), since these are most of what decoding H.264 costs.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from ssar.config import Transcode
from ssar.data.backends.timetable import open_container, quarter_turns, video_stream
from ssar.data.reader import scaled_size
from ssar.data.watchdog import beat

ENCODER = "libx264"
PIXELS = "yuv420p"
FRAMES_PER_BEAT = 50


def target_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of a transcoded video: the short side at most as given, both even, neither above the source's.

    Smaller videos keep their size, but for the last row or column where it is odd.
    """
    if min(height, width) > short_side:
        return scaled_size(height, width, short_side)
    return max(2, height // 2 * 2), max(2, width // 2 * 2)


def encode(source: Path, target: Path, how: Transcode, frames: int) -> None:
    """Write the first `frames` frames of `source` to the MP4 `target`: those that decode, as `ssar.data.probe` counts.

    They are upright, without sound, and follow one another at the source's average rate: where its own varies, each
    keeps its number and not its time. One thread.
    Raises av.FFmpegError or OSError for a source that does not decode and a target that cannot be written.
    """
    with (
        open_container(str(source)) as reading,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as writing,
    ):
        stream = video_stream(reading)
        rate = _rate(stream)
        output: VideoStream | None = None
        for number, frame in enumerate(islice(reading.decode(stream), frames)):
            image = _upright(frame, how.short_side)
            if output is None:
                output = _output(writing, image, rate, how)
                # of a pixel's sides, for whoever plays the video: readers take pixels as they are
                if shape := stream.sample_aspect_ratio:
                    output.codec_context.sample_aspect_ratio = 1 / shape if quarter_turns(frame) % 2 else shape
            image.pts, image.time_base = number, 1 / rate
            writing.mux(output.encode(image))
            if number % FRAMES_PER_BEAT == 0:
                beat()
        if output is not None:
            writing.mux(output.encode())


def _rate(stream: VideoStream) -> Fraction:
    """Frames per second, as a fraction that any container can hold."""
    stated = stream.average_rate or stream.guessed_rate or Fraction(25)
    return max(Fraction(1), Fraction(stated).limit_denominator(1001))


def _output(writing: OutputContainer, first: VideoFrame, rate: Fraction, how: Transcode) -> VideoStream:
    """The stream to write to, for frames like the first one."""
    options = {
        "crf": str(how.crf),
        "preset": "veryfast",
        "tune": "fastdecode",
        "g": str(how.keyframe_interval),
        "keyint_min": str(how.keyframe_interval),
        "sc_threshold": "0",  # no keyframes elsewhere
        "bf": "0",
        "flags": "+cgop",
    }
    output = cast(VideoStream, writing.add_stream(ENCODER, rate=rate, options=options))
    output.height, output.width, output.pix_fmt = first.height, first.width, PIXELS
    context = output.codec_context
    context.thread_count = 1
    # readers convert to RGB as these say
    context.colorspace, context.color_range = first.colorspace, first.color_range
    return output


def _upright(frame: VideoFrame, short_side: int) -> VideoFrame:
    """A new frame that stands upright at its target size.

    A new one, since a decoded frame carries its type, which the encoder would keep, and side data.
    """
    turns = quarter_turns(frame)
    # as it is stored: the rule is the same for both sides
    height, width = target_size(frame.height, frame.width, short_side)
    scaled = frame.reformat(
        width=width,
        height=height,
        format=PIXELS,
        interpolation=Interpolation.BICUBIC,
        dst_colorspace=Colorspace.ITU601 if frame.format.is_rgb else None,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
    planes = scaled.to_ndarray()
    image = VideoFrame.from_ndarray(_turned(planes, turns) if turns else planes, format=PIXELS)
    image.colorspace, image.color_range = scaled.colorspace, scaled.color_range
    return image


def _turned(planes: np.ndarray, turns: int) -> np.ndarray:
    """Turn brightness and both colours, which lie one after the other in (3 / 2 x height, width)."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    brightness, *colours = np.split(planes.ravel(), [height * width, height * width * 5 // 4])
    parts = [brightness.reshape(height, width), *(part.reshape(height // 2, width // 2) for part in colours)]
    turned = [np.rot90(part, turns) for part in parts]
    return np.concatenate([part.ravel() for part in turned]).reshape(-1, turned[0].shape[1])
