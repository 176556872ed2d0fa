"""How every figure looks: sized for a two-column paper, legible in print, safe for colour-blind readers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ssar.files import atomic
from ssar.reporting.figures.spec import FigureSpec

COLUMN, PAGE = 3.5, 7.0
"""Widths in inches of a column and of a page of two columns."""

POINTS = 7.0
"""Smallest font size."""

CHARACTERS = 16
"""About so many characters of that size go into an inch."""

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's palette for colour-blind readers."""

LABEL = 0.16
"""Inches that a line of text takes beside or above a picture."""

GREY = "#BBBBBB"

STYLE = {
    "font.size": POINTS,
    "axes.titlesize": POINTS,
    "axes.labelsize": POINTS,
    "xtick.labelsize": POINTS,
    "ytick.labelsize": POINTS,
    "legend.fontsize": POINTS,
    "legend.title_fontsize": POINTS,
    "axes.linewidth": 0.5,
    "axes.titlepad": 3.0,
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # fonts as text, not as shapes
    "image.interpolation": "nearest",
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib without a display, in the style of the figures."""
    matplotlib.use("Agg")
    with matplotlib.rc_context(rc=dict(STYLE)):  # type: ignore[arg-type]
        yield


def tight(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, for pictures that almost touch."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0))


def bare(axes: Axes) -> None:
    """Remove ticks and frame, keep the labels."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def words(name: str, width: int) -> str:
    """A class name as words in lines of about `width` characters: `BoxingPunchingBag` as `Boxing Punching Bag`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", name)
    return textwrap.fill(spaced, width, break_long_words=False)


def footnote(figure: Figure, text: str) -> None:
    """Make the figure higher by a strip with the text, below everything that is drawn."""
    lines = textwrap.wrap(text, int(figure.get_figwidth() * CHARACTERS))
    strip = (len(lines) * 1.3 + 0.7) * POINTS / 72
    height = figure.get_figheight() + strip
    figure.set_figheight(height)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, strip / height, 1, 1 - strip / height))
    figure.text(0.5, 0.3 * POINTS / 72 / height, "\n".join(lines), ha="center", va="bottom", color="#555555")


def save(figure: Figure, stem: Path, spec: FigureSpec, notes: Sequence[str]) -> None:
    """Write `stem`.pdf and `stem`.png atomically; the caption goes into their metadata, the notes below the drawing."""
    if notes:
        footnote(figure, " ".join(notes))
    title = f"{spec.caption} After {spec.source}."
    # no date: the same inputs give the same bytes
    metadata = {"pdf": {"Title": title, "CreationDate": None}, "png": {"Title": title}}
    for suffix, values in metadata.items():
        with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
            figure.savefig(temporary, format=suffix, metadata=values)
