"""The one renderer of tables: a declared table and the runs' result files to .tex, .md and .csv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssar.files import write_text
from ssar.reporting.latex import latex
from ssar.reporting.markdown import markdown
from ssar.reporting.rendered import Around, RenderedTable, build
from ssar.reporting.spec import TableSpec
from ssar.reporting.tidy import tidy


def made(table: Mapping[str, Any]) -> RenderedTable:
    """The table that the grid describes.

    `table`: "spec" (a TableSpec), "cells" {"row|column": result files, one per seed}, "settings" {column: the
    dataset.labels that stands for it at this scale, or None for nothing}, "note" (why the numbers are not the published
    ones, or None), "views" (slug), "flags" {id: sentence} of the spec's flags, and "remarks", further notes. A result
    file that is not there is a missing seed. Raises UserError for a damaged one.
    """
    files: dict[tuple[str, str], list[Path]] = {}
    for key, paths in table["cells"].items():
        row, _, column = key.partition("|")
        files[row, column] = [Path(path) for path in paths]
    around = Around(table["settings"], table["note"], table["views"], table["remarks"], table["flags"])
    return build(TableSpec.model_validate(table["spec"]), files, around)


def render(table: Mapping[str, Any], stem: Path) -> None:
    """Write `stem`.tex, .md and .csv of what `made` takes."""
    ready = made(table)
    for suffix, text in (("tex", latex(ready, stem.name)), ("md", markdown(ready)), ("csv", tidy(ready))):
        write_text(stem.with_name(f"{stem.name}.{suffix}"), text)
