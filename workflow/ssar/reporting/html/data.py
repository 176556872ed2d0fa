"""What the page shows, as plain values: collected from the grid and the files that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssar.experiments import Paper
from ssar.grid import Grid
from ssar.reporting.claims.evaluate import VERDICTS
from ssar.reporting.html import asked
from ssar.reporting.html.claims import page_claims
from ssar.reporting.html.curves import Curve, panels, read_curve, thin
from ssar.reporting.html.packed import packed
from ssar.reporting.html.pictures import picture
from ssar.reporting.html.runs import page_run
from ssar.reporting.html.tables import page_table
from ssar.reporting.table import made
from ssar.targets import Targets


def collect(targets: Targets) -> dict[str, Any]:
    """Everything that the templates name. Raises UserError for a damaged file."""
    grid, needed = targets.grid, asked.runs(targets)
    papers = [_paper(targets, paper) for paper in grid.papers.values()]
    uses, views = _uses(grid), _views(grid)
    runs = [page_run(grid.runs[run], grid.paths, uses[run], views.get(run, [])) for run in needed]
    curves = _curves(grid, needed)
    variants = _variants(grid, curves)
    return {
        "note": targets.project.note,
        "results": targets.project.results,
        "seeds": targets.project.seeds,
        "substitutes": _substitutes(grid),
        "papers": papers,
        "runs": runs,
        "counts": Counter(run["status"] for run in runs),
        "verdicts": {name: sum(paper["verdicts"].get(name, 0) for paper in papers) for name in VERDICTS},
        "totals": _totals(runs),
        "curves": {run: packed(curve) for run, curve in curves.items()},
        "columns": {name: panel for curve in curves.values() for name, panel in panels(list(curve)).items()},
        "variants": variants,
        "start": _start(variants, curves),
    }


def _paper(targets: Targets, paper: Paper) -> dict[str, Any]:
    grid, what = targets.grid, asked.asked(targets, paper)
    tables = [
        {"name": name, **page_table(made(targets.table_data(f"{paper.name}/{name}")), grid, paper.name)}
        for name in what.tables
    ]
    figures = [
        {
            "name": name,
            "caption": paper.figures[name].caption,
            "source": paper.figures[name].source,
            "picture": _picture(targets, paper.name, name),
        }
        for name in what.figures
    ]
    claims = page_claims(paper.claims, Path(grid.paths.claims(paper.name, "csv"))) if what.claims else []
    verdicts = Counter(claim["verdict"] for claim in claims)
    return {
        "name": paper.name,
        "title": paper.declared.title,
        "tables": tables,
        "figures": figures,
        "claims": claims,
        "verdicts": {name: verdicts[name] for name in VERDICTS if verdicts[name]},
        "left_out": [name for name in (*paper.tables, *paper.figures) if name not in (*what.tables, *what.figures)],
    }


def _picture(targets: Targets, paper: str, name: str) -> dict[str, Any] | None:
    """The figure's png; that of the default paper may have been asked for without the paper's name."""
    found = picture(Path(targets.paths.figure(f"{paper}/{name}", "png")))
    if found is None and paper == targets.project.paper:
        found = picture(Path(targets.paths.figure(name, "png")))
    return found


def _substitutes(grid: Grid) -> dict[str, str]:
    """What stands for each of the papers' settings where it is not itself."""
    settings = {setting for _, _, setting in grid.selected()}
    found = {setting: str(grid.setting(setting)) for setting in sorted(settings)}
    return {setting: stands for setting, stands in found.items() if stands != setting}


def _uses(grid: Grid) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for paper, variant, setting in grid.selected():
        for run in grid.select(paper, variant, setting):
            found.setdefault(run.id, []).append(f"{paper}: {variant} in {setting}")
    return found


def _views(grid: Grid) -> dict[str, list[str]]:
    """The evaluations of each run that tables, figures and claims read, those of the protocol itself first."""
    found: dict[str, dict[str, None]] = {}
    for paper in grid.papers.values():
        for source in paper.sources():
            if source.role in ("metrics", "predictions"):
                for run in grid.select(paper.name, source.variant, source.setting):
                    found.setdefault(run.id, {})[grid.views(paper.name, source.condition)] = None
        for variant in paper.experiments:  # the ablations
            for run in grid.select(paper.name, variant, paper.declared.ablation_setting):
                found.setdefault(run.id, {})[grid.views(paper.name)] = None
    return {run: sorted(slugs, key=lambda slug: "+" in slug) for run, slugs in found.items()}


def _totals(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    done = [run for run in runs if run["status"] == "done"]
    commits = {(run["git"] or {}).get("commit", "")[:10] + "+" * bool((run["git"] or {}).get("dirty")) for run in done}
    return {
        "seconds": sum(run["seconds"] or 0 for run in done),
        "gpu_hours": sum(run["gpu_hours"] or 0 for run in done),
        "devices": sorted({run["device"] for run in done if run["device"]}),
        "commits": sorted(commit for commit in commits if commit),
        "versions": {
            name: sorted({run["versions"][name] for run in done if name in run["versions"]})
            for name in dict.fromkeys(name for run in done for name in run["versions"])
        },
    }


def _curves(grid: Grid, runs: Sequence[str]) -> dict[str, Curve]:
    """The thinned curves of those runs that have any."""
    read = {run: read_curve(Path(grid.paths.run(run, "curves.csv"))) for run in runs}
    return {run: thin(curve) for run, curve in read.items() if curve}


def _variants(grid: Grid, curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """What the charts can show: a variant in a setting, with those of its runs that have curves."""
    found = []
    for paper, variant, setting in grid.selected():
        runs = grid.select(paper, variant, setting)
        there = [{"id": run.id, "seed": run.config.seed} for run in runs if run.id in curves]
        if there:
            found.append(
                {
                    "paper": paper,
                    "variant": variant,
                    "setting": setting,
                    "about": grid.papers[paper].experiments[variant].about,
                    "runs": there,
                    "planned": len(runs),
                }
            )
    return found


def _start(variants: Sequence[Mapping[str, Any]], curves: Mapping[str, Curve]) -> int:
    """The variant whose curves fill the charts first: the first one that has the most columns about pseudo-labels."""
    counts = [
        sum(panel == "pseudo" for panel in panels(list(curves[variant["runs"][0]["id"]])).values())
        for variant in variants
    ]
    return counts.index(max(counts)) if counts else 0
