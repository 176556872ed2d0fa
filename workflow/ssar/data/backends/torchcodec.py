"""torchcodec, an optional extra: needs FFmpeg's shared libraries on the machine, imports torch."""

from __future__ import annotations

import numpy as np
import torchcodec
from torchcodec.decoders import VideoDecoder
from torchcodec.transforms import Resize

from ssar.data.backends.timetable import Facts

if torchcodec.ffmpeg_major_version is None:  # newer versions load without FFmpeg, and fail with each video
    raise ImportError("torchcodec finds no FFmpeg")


class TorchCodecBackend:
    """A torchcodec decoder in exact mode, on one thread."""

    errors = (RuntimeError, ValueError)

    def __init__(self, path: str, size: tuple[int, int] | None) -> None:
        transforms = [Resize(size)] if size else []
        self.decoder = VideoDecoder(
            path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact", transforms=transforms
        )

    @staticmethod
    def suits(facts: Facts, size: tuple[int, int] | None) -> bool:
        """Whether torchcodec, which goes by the times of frames, finds the right ones."""
        return facts.alike and facts.timed

    def decode(self, indices: list[int]) -> np.ndarray:
        """See Backend."""
        return self.decoder.get_frames_at(indices).data.numpy()

    def close(self) -> None:
        """See Backend."""
        self.decoder = None
