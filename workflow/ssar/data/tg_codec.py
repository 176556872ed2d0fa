"""How one temporal gradient becomes bytes. Sizes and speeds of each: ``benchmarks/tg_store.py``.

On UCF-101 and Kinetics-400 videos, as a share of the raw bytes: webp 0.17, zlib 0.27, jpeg 0.06; read at 1900, 3500
and 4400 frames of mixed sizes (170x128 to 454x256) per second and core. Hence webp by default: lossless, so that a
run does not depend on where its gradients come from, and still faster to read than the RGB frames beside it.
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
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

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
