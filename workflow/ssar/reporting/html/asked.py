"""What the configuration asks for: the tables, figures and claims of the page, and the runs behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from ssar.experiments import Paper
from ssar.targets import Targets


@dataclass(frozen=True)
class Asked:
    """What of a paper is asked for, in its declared order."""

    tables: tuple[str, ...]
    figures: tuple[str, ...]
    claims: bool
    ablations: tuple[str, ...]


def asked(targets: Targets, paper: Paper) -> Asked:
    """What of a paper the requested files show, whatever their format."""
    stems = {str(PurePosixPath(target).with_suffix("")) for target in targets.requested}
    together = f"tables/{paper.name}/all" in stems  # all of them in one document
    return Asked(
        tuple(name for name in paper.tables if together or stems & _stems(targets, paper, "tables", name)),
        tuple(name for name in paper.figures if stems & _stems(targets, paper, "figures", name)),
        f"claims/{paper.name}" in stems,
        tuple(variant for variant in paper.experiments if f"ablations/{paper.name}/{variant}" in stems),
    )


def _stems(targets: Targets, paper: Paper, kind: str, name: str) -> set[str]:
    """The names that a table or figure may be asked for by: those of the default paper without a folder, too."""
    short = paper.name == targets.project.paper or paper.name == name
    return {f"{kind}/{paper.name}/{name}"} | ({f"{kind}/{name}"} if short else set())


def runs(targets: Targets) -> list[str]:
    """The ids of the runs that everything asked for needs, those that others start or learn from too, sorted."""
    grid = targets.grid
    found: set[str] = set()
    waiting = [
        run.id
        for paper in grid.papers.values()
        for variant, setting in _wanted(paper, asked(targets, paper))
        for run in grid.select(paper.name, variant, setting)
    ]
    while waiting:
        run = waiting.pop()
        if run not in found:
            found.add(run)
            waiting.extend(grid.runs[run].config.upstream.values())
    return sorted(found)


def _wanted(paper: Paper, what: Asked) -> Iterator[tuple[str, str]]:
    """Each variant with its setting, repeatedly."""
    claims = paper.claims.values() if what.claims else ()
    for item in (
        *(paper.tables[name] for name in what.tables),
        *(paper.figures[name] for name in what.figures),
        *claims,
    ):
        for source in item.sources():
            yield source.variant, source.setting
    for variant in what.ablations:
        yield variant, paper.declared.ablation_setting
