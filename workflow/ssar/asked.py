"""What configurations ask for: every file that some table, figure, claim or ablation of theirs may need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssar.errors import UserError
from ssar.grid import Grid, build
from ssar.methods import options_class
from ssar.project import CONFIG, Project, load_project, results_folder
from ssar.reporting.sources import Source
from ssar.targets import Targets
from ssar.yamlfile import read_yaml

DEFAULT = CONFIG / "config.yaml"
DECIDING = {"papers", "seeds", "settings", "overrides", "views", "datasets"}
"""Keys of a configuration that decide which runs and evaluations there are."""


@dataclass
class Asked:
    """What stays: run ids, and files and folders relative to `results`. Of all papers, whatever `targets` names."""

    runs: set[str] = field(default_factory=set)
    evaluations: set[Path] = field(default_factory=set)
    splits: set[Path] = field(default_factory=set)
    stores: set[Path] = field(default_factory=set)
    scores: set[Path] = field(default_factory=set)
    ablations: set[Path] = field(default_factory=set)

    @classmethod
    def by(cls, grids: Iterable[Grid]) -> Asked:
        """What any of several configurations asks for."""
        found = cls()
        for grid in grids:
            found._add(Targets(grid))
        return found

    def _add(self, targets: Targets) -> None:
        grid, paths, results = targets.grid, targets.paths, targets.project.results
        self.runs |= set(grid.runs)
        self.splits |= {Path(paths.split(*key)).relative_to(results) for key in targets.splits}
        self.stores |= {Path(store).parent.relative_to(results) for _, store in targets.stores}
        for run in grid.runs.values():
            if "scores" in run.config.options.roles:
                self.scores.add(Path(grid.upstream(run.config)["scores"]).parent.relative_to(results))
        for paper in grid.papers.values():
            setting = paper.declared.ablation_setting
            for source in paper.sources():
                self._evaluated(grid, paper.name, source)
            for variant, experiment in paper.experiments.items():
                if options_class(experiment.method).needs_labelled and grid.select(paper.name, variant, setting):
                    self.ablations.add(Path(paths.ablation(paper.name, variant)).relative_to(results))
                    self._evaluated(grid, paper.name, Source(variant, setting, "metrics"))

    def _evaluated(self, grid: Grid, paper: str, source: Source) -> None:
        if source.role in ("metrics", "predictions"):
            self.evaluations |= {
                Path(file).parent.relative_to(grid.project.results) for file in grid.results(paper, source)
            }


def sharing(overlays: Sequence[Path], others: Sequence[Sequence[Path]]) -> list[Grid]:
    """The configuration of some overlays first, then all that are known to share its results folder.

    These are `others`, and the configuration without the last overlays where they leave the results folder as it is: an
    overlay that changes one setting and no folder does not disown the runs below it. Raises UserError where one of
    `others` has another folder, and for mistakes in them.
    """
    grids = [build([DEFAULT, *overlays])]
    folder = _folder(grids[0].project)
    for files in others:
        grid = build([DEFAULT, *files])
        if _folder(grid.project) != folder:
            raise UserError(
                f"--also {' '.join(map(str, files))}: its results are in {grid.project.results}, "
                f"not in {grids[0].project.results}: it asks for nothing there"
            )
        grids.append(grid)
    for count in range(len(overlays)):
        files = [DEFAULT, *overlays[:count]]
        try:
            if _folder(load_project(files)) == folder:
                grids.append(build(files))
        except UserError:
            continue  # what does not work alone has never made anything
    return grids


def neighbours(project: Project, used: Iterable[Path]) -> Iterator[Path]:
    """Overlays that may have made runs in the same results folder: beside the used ones or in the current directory.

    They decide about runs, and name this folder, or none where it is that of config.yaml.
    """
    known = {path.resolve() for path in used} | {DEFAULT.resolve()}
    here = _folder(project)
    folders = {path.parent for path in known} | {Path.cwd()}
    for file in sorted(file.resolve() for folder in folders for file in folder.glob("*.y*ml")):
        if file in known:
            continue
        try:
            content = read_yaml(file)
        except UserError:
            continue  # no configuration at all
        keys = set(content)
        if not keys & DECIDING or not keys <= set(Project.model_fields):
            continue
        try:
            theirs = Path(results_folder(str(content.get("results", read_yaml(DEFAULT)["results"]))))
        except ValueError:
            continue
        if theirs.resolve() == here:
            yield file


def _folder(project: Project) -> Path:
    return Path(project.results).resolve()
