"""results/ablations/<paper>/<variant>.json: one variant's seeds, beside what the paper printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssar.errors import UserError
from ssar.experiments import Paper, load_paper
from ssar.files import write_json
from ssar.reporting.results import look_up, read_result
from ssar.reporting.seeds import summarise
from ssar.reporting.spec import condition_of

METRICS = ("top1", "top5")


def write_ablation(paper: str, variant: str, metrics: Sequence[Path], out: Path) -> None:
    """Write {paper, variant, about, setting, measured_on, views, config, seeds, top1, top5, published}.

    `setting` is the paper's, `measured_on` what stands for it at this scale; where they differ the published values are
    not comparable. `config` is that of the seeds, without the seed. Raises UserError for a missing metrics file and for
    an unknown variant.
    """
    declared = load_paper(paper)
    if variant not in declared.experiments:
        raise UserError(f"unknown variant `{variant}` of {paper}; known: {', '.join(sorted(declared.experiments))}")
    results = [(path, _read(path)) for path in metrics]
    first = results[0][1]
    labels = first["config"]["labels"]
    write_json(
        out,
        {
            "paper": paper,
            "variant": variant,
            "about": declared.experiments[variant].about,
            "setting": declared.declared.ablation_setting,
            "measured_on": f"{first['config']['dataset']}.{labels['protocol']}",
            "views": first["views"],
            "config": {key: value for key, value in first["config"].items() if key != "seed"},
            "seeds": [
                {
                    "run": result["run"],
                    "seed": result["config"].get("seed", 0),
                    "draw": result["config"]["labels"].get("draw", 0),
                    **{metric: look_up(result, metric, path) for metric in METRICS},
                }
                for path, result in results
            ],
            **{metric: _summary([look_up(result, metric, path) for path, result in results]) for metric in METRICS},
            "published": published(declared, variant),
        },
    )


def published(paper: Paper, variant: str) -> list[dict[str, Any]]:
    """Every value that the paper's tables print for a variant in the setting of its ablations."""
    return [
        {"table": name, "metric": column.metric, "value": value, "source": table.source}
        for name, table in paper.tables.items()
        for row in table.rows
        if row.variant == variant and row.published
        for column, value in zip(table.columns, row.published, strict=True)
        if column.setting == paper.declared.ablation_setting
        and column.metric in METRICS
        and value is not None
        and not condition_of(row, column)
    ]


def _read(path: Path) -> dict[str, Any]:
    result = read_result(path)
    if result is None:
        raise UserError(f"{path}: there are no such metrics; predict and evaluate the run first")
    return result


def _summary(values: Sequence[Any]) -> dict[str, Any] | None:
    summary = summarise([value for value in values if value is not None])
    return summary and summary._asdict()
