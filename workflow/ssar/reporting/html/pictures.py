"""A figure's PNG as data URIs: a copy of the page's width, and the file itself for the zoom."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ssar.errors import UserError

WIDTH = 1100
"""Pixels of the copy: the column of a wide screen."""


def picture(path: Path) -> dict[str, Any] | None:
    """{"page", "full": base64 of PNG files, the second empty when the first is the file; "width", "height" of the
    page's}; None when there is no file. Raises UserError for one that is no image."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            width, height = image.size
            small = content
            if width > WIDTH:
                size = (WIDTH, round(height * WIDTH / width))
                file = io.BytesIO()
                image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
                if file.tell() < len(content):
                    small, (width, height) = file.getvalue(), size
    except FileNotFoundError:
        return None
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and make it anew") from None
    return {
        "page": base64.b64encode(small).decode("ascii"),
        "full": "" if small is content else base64.b64encode(content).decode("ascii"),
        "width": width,
        "height": height,
    }
