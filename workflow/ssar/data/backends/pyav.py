"""PyAV: FFmpeg's libraries, exact on every container, available on every platform."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from ssar.data.backends.timetable import Facts, open_container, quarter_turns, read_timetable, video_stream


class PyAVBackend:
    """Seeks to the keyframe before a wanted frame and decodes forward from there.

    Frames are told apart by their presentation times. Where a container has no reliable ones (some AVI files), or
    where they turn out to be wrong while decoding, the video is decoded from its start, counting.
    """

    errors = (av.FFmpegError, EOFError, IndexError)

    def __init__(self, path: str, size: tuple[int, int] | None) -> None:
        self.path, self.size = path, size
        # one for all frames: a frame's own sets swscale's tables up again, which takes longer than decoding small ones
        self.scaler = VideoReformatter()
        table = read_timetable(path)
        self.times, self.keys = table.times, table.keys
        self.container = open_container(path)
        self.stream = video_stream(self.container)
        self.decoder: Iterator[VideoFrame] = self.container.decode(self.stream)
        self.passed = -1  # the number of the frame that the decoder put out last

    @staticmethod
    def suits(facts: Facts, size: tuple[int, int] | None) -> bool:
        """PyAV reads whatever there is."""
        return True

    def decode(self, indices: list[int]) -> np.ndarray:
        """See Backend."""
        found = self._by_time(indices) if self.times else None
        if found is None:
            self.times = []
            self.close()  # two decoders at once leave holes in the C library's heap, which then grows
            found = self._by_counting(indices)
        return np.stack(found)

    def _by_time(self, indices: list[int]) -> list[np.ndarray] | None:
        """The frames, or None when the presentation times turn out to be wrong."""
        if indices[-1] >= len(self.times):
            raise IndexError(f"the video has {len(self.times)} frames")
        found = []
        for index in indices:
            self._approach(index)
            for frame in self.decoder:
                if frame.pts is None or frame.pts > self.times[index]:
                    return None
                if frame.pts == self.times[index]:
                    found.append(self._image(frame))
                    self.passed = index
                    break
            else:
                return None
        return found

    def _approach(self, index: int) -> None:
        """Seek if the frame lies behind, or beyond a keyframe that is still ahead."""
        number, time = self.keys[max(0, bisect_right(self.keys, (index, float("inf"))) - 1)]
        if self.passed < index and number <= self.passed + 1:
            return
        self.container.seek(time, stream=self.stream)
        self.decoder = self.container.decode(self.stream)

    def _by_counting(self, indices: list[int]) -> list[np.ndarray]:
        wanted = set(indices)
        found, count = [], 0
        with open_container(self.path) as container:
            for number, frame in enumerate(container.decode(video_stream(container))):
                count = number + 1
                if number in wanted:
                    found.append(self._image(frame))
                if len(found) == len(indices):
                    return found
        raise IndexError(f"the video has {count} frames")

    def _image(self, frame: VideoFrame) -> np.ndarray:
        """The frame upright, as uint8 (H, W, 3)."""
        turns = quarter_turns(frame)
        size = (frame.height, frame.width) if turns % 2 == 0 else (frame.width, frame.height)
        height, width = self.size or size
        if turns % 2:
            height, width = width, height
        scaled = self.scaler.reformat(frame, width, height, format="rgb24", interpolation=Interpolation.BILINEAR)
        image = scaled.to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def close(self) -> None:
        """See Backend."""
        self.container.close()
