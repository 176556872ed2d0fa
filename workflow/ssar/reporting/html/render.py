"""Templates, style, scripts and the charting library put together into one page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ssar.reporting.html.curves import POINTS
from ssar.reporting.html.packed import packed
from ssar.reporting.html.tables import FULL_COLOUR

TEMPLATES = Path(__file__).with_name("templates")


def render(page: Mapping[str, Any], made: datetime) -> str:
    """The page of `ssar.reporting.html.data.collect`. Every value in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "size": size, "label": label}
    environment.globals["asset"] = _asset
    return environment.get_template("page.html.j2").render(
        page, made=made, points=POINTS, full_colour=FULL_COLOUR, plotly=_library(), dash=DASH
    )


DASH = "–"
"""Where there is no value and none is due."""


@cache
def _library() -> str:
    """The charting library as its package ships it, packed."""
    return packed(get_plotlyjs())


def _asset(name: str) -> Markup:
    """A style sheet or script of ours, which stands in the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Bytes as `1.4 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def label(name: str) -> str:
    """`Table 3c` for table3c, `Table A2` for tablea2; another name as it is."""
    match = re.fullmatch(r"(table|figure)([a-z]?)(\d.*)", name)
    return f"{match[1].capitalize()} {match[2].upper()}{match[3]}" if match else name
