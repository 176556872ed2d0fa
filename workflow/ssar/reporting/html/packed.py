"""Data in a page that is read only when somebody asks for it: text that the browser inflates."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any


def packed(value: Any) -> str:
    """JSON of `value`, compressed, in base64: it has no character that means something to HTML."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")


def unpacked(text: str) -> str:
    """The JSON that `packed` took in."""
    return gzip.decompress(base64.b64decode(text)).decode()
