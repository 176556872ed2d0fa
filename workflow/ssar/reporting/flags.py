"""What a paper prints and cannot be: sentences of docs/fidelity/<paper>.md, which tables refer to by their ids."""

from __future__ import annotations

from ssar.errors import UserError
from ssar.project import ROOT
from ssar.reporting.spec import TableSpec

FOLDER = ROOT / "docs" / "fidelity"
HEADING = "## Impossible as printed"


def read_flags(paper: str) -> dict[str, str]:
    """{id: sentence} of the table `| id | where | why |` below the heading; empty for a paper without a page or such a
    section. Raises UserError for a line of another form and for an id that is there twice."""
    file = FOLDER / f"{paper}.md"
    found: dict[str, str] = {}
    if not file.is_file():
        return found
    section = file.read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:  # the first two are the head
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 3 or not all(cells) or cells[0] in found:
            raise UserError(f"{file}, {HEADING[3:]}: expected `| id | where | why |` with a new id, found: {line}")
        found[cells[0]] = cells[2]
    return found


def sentences(paper: str, spec: TableSpec) -> dict[str, str]:
    """{id: sentence} of the flags of a table. Raises UserError for an id that the paper's page does not have."""
    wanted = spec.flagged()
    known = read_flags(paper) if wanted else {}
    if unknown := [flag for flag in wanted if flag not in known]:
        raise UserError(
            f"table of {paper} ({spec.source}): no such flag in {FOLDER / paper}.md, section {HEADING[3:]}: "
            f"{', '.join(unknown)}; there are: {', '.join(known) or 'none'}"
        )
    return {flag: known[flag] for flag in wanted}
