"""A paper's claims with their verdicts, as results/claims/<paper>.csv has them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssar.errors import UserError
from ssar.reporting.claims.evaluate import VERDICTS
from ssar.reporting.claims.spec import ClaimSpec

NOT_RUN = "not run"
NUMBERS = ("effect", "low", "high", "published")


def page_claims(declared: Mapping[str, ClaimSpec], path: Path) -> list[dict[str, Any]]:
    """A line for each declared claim with its comparisons; one that the csv lacks is not run.

    Raises UserError for a csv that is no such table.
    """
    found = _read(path)
    lines = {name: found.get(name, []) for name in declared}
    reach: dict[str, float] = {}  # the farthest that any comparison of a unit goes from 0
    for name, claim in declared.items():
        for line in lines[name]:
            reach[unit(claim)] = max([reach.get(unit(claim), 0.0), *(abs(line[key] or 0.0) for key in NUMBERS)])
    return [
        {
            "name": name,
            "says": claim.says,
            "source": claim.source,
            "verdict": lines[name][0]["overall"] if lines[name] else NOT_RUN,
            "lines": lines[name],
            "reach": reach.get(unit(claim), 0.0),
            "decimals": 1 if unit(claim) in ("points", "shares") else 2,
        }
        for name, claim in declared.items()
    ]


def unit(claim: ClaimSpec) -> str:
    """What a claim's effects are counted in; only those of one unit share an axis."""
    if claim.form == "grows_with":
        return "slope"
    if claim.measure in ("similarity", "gflops"):
        return claim.measure
    return "shares" if claim.relative else "points"


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    if not path.is_file():
        return found
    with path.open(newline="", encoding="utf-8") as file:
        for number, line in enumerate(csv.DictReader(file), 2):
            try:
                values: dict[str, Any] = dict(line) | {name: _number(line[name]) for name in NUMBERS}
                unknown = {line["verdict"], line["overall"]} - set(VERDICTS)
                if unknown:
                    raise ValueError(f"verdict `{unknown.pop()}`, known: {', '.join(VERDICTS)}")
                found.setdefault(line["claim"], []).append(values | {"runs": line["runs"].split()})
            except KeyError as error:
                raise UserError(f"{path} has no column {error}: remove it and make it anew") from None
            except ValueError as error:
                raise UserError(f"{path}, line {number} is damaged ({error}): remove it and make it anew") from None
    return found


def _number(text: str) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None
