"""A paper as data: its variants (experiments.yaml), tables, figures and claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssar.errors import UserError
from ssar.layers import Layer, validate
from ssar.methods import options_class
from ssar.options import Closed, option
from ssar.project import CONFIG
from ssar.reporting.claims.spec import ClaimSpec
from ssar.reporting.figures.spec import FigureSpec, figure_model
from ssar.reporting.sources import Source
from ssar.reporting.spec import TableSpec
from ssar.views import Views
from ssar.yamlfile import read_yaml


class Experiment(Closed):
    """One named variant: differences from a method's defaults."""

    method: str = option(about="name of the method")
    about: str = option(about="what the variant shows")
    base: str | None = option(None, about="a named variant of the method's yaml to start from, e.g. as-released")
    set: dict[str, Any] = option({}, about="differences, with dotted or nested keys")
    needs: dict[str, str] = option(
        {}, about="variants whose runs of the same setting and seed this one starts or learns from, by role"
    )
    seed_offset: int = option(0, about="added to the seeds: an independent repeat of another variant", ge=0)


class Experiments(Closed):
    """config/papers/<paper>/experiments.yaml."""

    paper: str = option(about="the folder's name")
    title: str = option(about="title, venue and year")
    ablation_setting: str = option(about="dataset.labels of results/ablations/<paper>/<variant>.json")
    views: str = option(about="evaluation views, clips x crops @ size")
    average: Literal["logits", "probs"] = option(about="what is averaged over the views")
    settings: dict[str, dict[str, Any]] = option(
        {}, about="what the paper changes per dataset or dataset.labels, in all methods or, after `/`, in one"
    )
    experiments: dict[str, Experiment] = option(about="the variants by name")


@dataclass(frozen=True)
class Paper:
    """The declarations of one paper, validated."""

    name: str
    file: Path
    declared: Experiments
    tables: dict[str, TableSpec]
    figures: dict[str, FigureSpec]
    claims: dict[str, ClaimSpec]

    @property
    def experiments(self) -> dict[str, Experiment]:
        return self.declared.experiments

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        return self.declared.settings

    def views(self, override: str | None, condition: str = "") -> str:
        """Slug of the evaluation protocol, e.g. 10x3-256-logits, or under a condition 10x3-256-logits+grayscale."""
        return Views.parse(override or self.declared.views, self.declared.average, condition).slug

    def sources(self) -> Iterator[Source]:
        """Everything that the paper's tables, figures and claims read."""
        declared: tuple[TableSpec | FigureSpec | ClaimSpec, ...] = (
            *self.tables.values(),
            *self.figures.values(),
            *self.claims.values(),
        )
        for item in declared:
            yield from item.sources()

    def wanted(self) -> Iterator[tuple[str, str]]:
        """Every (variant, setting) that a table, a figure or an ablation asks for."""
        for source in self.sources():
            yield source.variant, source.setting
        for variant, experiment in self.experiments.items():
            if options_class(experiment.method).needs_labelled:  # self-supervised ones have nothing to evaluate
                yield variant, self.declared.ablation_setting


def load_paper(name: str) -> Paper:
    """Read config/papers/<name>. Raises UserError that lists every mistake."""
    folder = CONFIG / "papers" / name
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in (CONFIG / "papers").iterdir() if path.is_dir()))
        raise UserError(f"key `papers`: no folder {folder}; known papers: {known}")
    file = folder / "experiments.yaml"
    declared = validate(Experiments, [Layer(read_yaml(file), file)], f"{file} has mistakes:")
    tables = {
        key: validate(TableSpec, [Layer(values, folder / "tables.yaml", (key,))], f"table `{key}` of {name}:")
        for key, values in read_yaml(folder / "tables.yaml").items()
    }
    figures = {
        key: validate(
            figure_model(values), [Layer(values, folder / "figures.yaml", (key,))], f"figure `{key}` of {name}:"
        )
        for key, values in read_yaml(folder / "figures.yaml").items()
    }
    listed = folder / "claims.yaml"
    claims = {
        key: validate(ClaimSpec, [Layer(values, listed, (key,))], f"claim `{key}` of {name}:")
        for key, values in (read_yaml(listed) if listed.is_file() else {}).items()
    }
    paper = Paper(name, file, declared, tables, figures, claims)
    unknown = sorted({variant for variant, _ in paper.wanted()} - set(declared.experiments))
    problems = [
        f"key `experiments.{variant}.needs.{role}`: there is no variant `{wanted}`"
        for variant, experiment in declared.experiments.items()
        for role, wanted in experiment.needs.items()
        if wanted not in declared.experiments
    ]
    problems += [f"key `experiments.{variant}.needs`: {' -> '.join(circle)}" for variant, circle in _circles(declared)]
    if problems:
        raise UserError.of(f"{file} has mistakes:", problems)
    if unknown:
        raise UserError(f"{folder}: tables, figures or claims name variants that {file} lacks: {', '.join(unknown)}")
    return paper


def _circles(declared: Experiments) -> Iterator[tuple[str, list[str]]]:
    """Variants that need themselves, with the way round."""
    for start in declared.experiments:
        ways = [[start]]
        while ways:
            way = ways.pop()
            for wanted in declared.experiments[way[-1]].needs.values():
                if wanted == start:
                    yield start, [*way, wanted]
                elif wanted in declared.experiments and wanted not in way:
                    ways.append([*way, wanted])
