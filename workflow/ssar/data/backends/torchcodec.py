"""torchcodec, an optional extra: needs FFmpeg's shared libraries on the machine, imports torch."""

from __future__ import annotations

import av
import numpy as np
from torchcodec.decoders import VideoDecoder
from torchcodec.transforms import Resize

from ssar.data.backends.timetable import read_header
from ssar.data.reader import scaled_size


class TorchCodecBackend:
    """A torchcodec decoder in exact mode, on one thread."""

    errors = (RuntimeError, ValueError, IndexError, av.FFmpegError, StopIteration)

    def __init__(self, path: str, short_side: int | None) -> None:
        resize = []
        if short_side is not None:
            header = read_header(path)
            resize = [Resize(scaled_size(header.height, header.width, short_side))]
        self.decoder = VideoDecoder(
            path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact", transforms=resize
        )

    def decode(self, indices: list[int]) -> np.ndarray:
        """See Backend."""
        return self.decoder.get_frames_at(indices).data.numpy()

    def close(self) -> None:
        """See Backend."""
        del self.decoder
