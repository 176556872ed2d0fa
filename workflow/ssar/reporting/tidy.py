"""A table as tidy csv: one line for each cell."""

from __future__ import annotations

import csv
import io

from ssar.data.completeness import Completeness
from ssar.reporting.rendered import RenderedTable
from ssar.reporting.results import Cell
from ssar.reporting.spec import condition_of

COLUMNS = (
    *("row", "column", "variant", "setting", "condition", "metric"),
    *("mean", "std", "n", "text", "published", "best", "missing_videos", "runs"),
)


def tidy(table: RenderedTable) -> str:
    """`mean`, `std` and `n` over the seeds, `text` for cells of text; what is not known is empty, never 0.

    Numbers are those of the result files, whatever the unit of the column's head. The metric of a difference of columns
    names both, and its condition is the row's alone.

    `missing_videos` are listed videos that the runs did without, as the table's notes say, `runs` names the runs behind
    the cell, separated by spaces; an architecture has neither.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row, cells, flags in zip(table.spec.rows, table.cells, table.best, strict=True):
        for column, cell, best in zip(table.columns, cells, flags, strict=True):
            summary = cell.summary
            writer.writerow(
                {
                    "row": row.key,
                    "column": column.key,
                    "variant": row.variant,
                    "setting": column.setting,
                    "condition": condition_of(row, column),
                    "metric": cell.metric,
                    "mean": summary and summary.mean,
                    "std": summary and summary.std,
                    "n": summary.n if summary else len(cell.results) if cell.wanted else None,
                    "text": cell.text,
                    "published": cell.published,
                    "best": int(best),
                    "missing_videos": _missing_videos(cell),
                    "runs": " ".join(result["run"] for result in cell.results if "run" in result),
                }
            )
    return file.getvalue()


def _missing_videos(cell: Cell) -> int | None:
    """Of all datasets that the runs read; None where no result tells."""
    counted = (Completeness.of(values) for result in cell.results for values in result.get("completeness", ()))
    lost = {found.dataset: found.lost for found in counted}
    return sum(lost.values()) if lost else None
