"""results/report.html: everything that a configuration made, in one file that needs nothing beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ssar.files import write_text
from ssar.reporting.html.data import collect
from ssar.reporting.html.render import render
from ssar.targets import Targets


def write_report(targets: Targets, out: Path) -> None:
    """Write the page of all requested tables, figures and claims, and of the runs behind them.

    What is not there is shown as not run; with nothing finished there is still a page. Raises UserError for a damaged
    file of a run.
    """
    write_text(out, render(collect(targets), datetime.now(UTC)))
