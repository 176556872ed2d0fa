"""How one temporal gradient becomes bytes. Measured by ``benchmarks/tg_store.py``, on one busy core:

| codec | 170x128 (UCF-101, scaled down): size, read | 320x240 and larger (UCF-101, Kinetics-400): size, read |
| --- | --- | --- |
| webp | 0.13 of the raw bytes, 2400 frames/s | 0.16, 740 frames/s |
| zlib | 0.21, 5000 | 0.26, 1300 |
| jpeg | 0.04, 4300 (mean error 0.3 of 255) | 0.06, 1500 (0.5) |
| none: from decoded frames | -, 680 | -, 230 |

Hence webp by default: lossless, so that a run does not depend on where its gradients come from, half the size of the
other lossless one, and read three times as fast as the gradients are computed.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssar.config import TGCodec


class Codec(NamedTuple):
    """A pair of inverse functions between a uint8 frame (H, W, 3) and bytes; `decode` takes H and W as well."""

    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, int, int], np.ndarray]


def _as_image(kind: str, **options: object) -> Codec:
    def encode(frame: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, kind, **options)
        return buffer.getvalue()

    def decode(data: bytes, height: int, width: int) -> np.ndarray:
        # without the format Pillow asks every one that it knows, which takes as long as the decoding
        return np.asarray(Image.open(io.BytesIO(data), formats=[kind]).convert("RGB"))

    return Codec(encode, decode)


def _inflate(data: bytes, height: int, width: int) -> np.ndarray:
    return np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, width, 3)


CODECS: dict[TGCodec, Codec] = {
    # more effort than method 0 saves under 1 % and costs most of the speed
    "webp": _as_image("webp", lossless=True, method=0, quality=0),
    "zlib": Codec(lambda frame: zlib.compress(frame.tobytes(), 1), _inflate),
    # quality and chroma subsampling of OpenCV's default, with which LTG's released script writes its gradients
    "jpeg": _as_image("jpeg", quality=95, subsampling="4:2:0"),
}
