"""From what the grid knows of a figure to its pdf and png."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.spec import figure_model
from ssar.reporting.figures.style import paper_style, save
from ssar.reporting.sources import Source


def render(figure: Mapping[str, Any], video_root: Path, stem: Path) -> None:
    """Write `stem`.pdf and `stem`.png.

    `figure` is what the grid knows of it: "spec" (a FigureSpec), "files" {Source.key: files, one per seed}, "split"
    (csv) and "note" (why it is not the published one, or None). Raises UserError for a file that is missing or too few
    test videos.
    """
    spec = figure_model(figure["spec"]).model_validate(figure["spec"])
    inputs = FigureInputs(
        spec=spec,
        video_root=video_root,
        split=Path(figure["split"]),
        files={Source.of(key): [Path(path) for path in paths] for key, paths in figure["files"].items()},
    )
    # the kinds differ in what they import (one needs torch), so only the one that is drawn is loaded
    renderer = importlib.import_module(f"ssar.reporting.figures.{spec.kind}")
    with paper_style():
        notes = [*spec.notes, inputs.shared, figure["note"]]
        save(renderer.draw(inputs), stem, spec, [note for note in notes if note])
