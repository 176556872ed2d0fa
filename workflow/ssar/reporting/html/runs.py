"""The runs of a grid: what each was told, whether it is there, what came out, what it cost."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from ssar.errors import UserError
from ssar.grid import Run
from ssar.paths import Paths
from ssar.reporting.html.packed import packed
from ssar.reporting.results import read_result

STAGES = ("pretrain_teacher", "finetune_teacher", "train_student")
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The one in C is ten times as fast; not every build of PyYAML has it."""

HIDDEN = ("config", "provenance", "confusion")
"""Of a metrics.json: what is shown elsewhere, and what is too large to read."""


def page_run(run: Run, paths: Paths, uses: list[str], views: list[str]) -> dict[str, Any]:
    """One line of the run list, and `details`, packed sections of (title, yaml) for whoever opens it.

    `uses` says who wants the run, `views` are the evaluations that the grid has of it. What is not known is None.
    """
    record = read_result(Path(paths.run(run.id, "run.json")))
    results = {
        slug: found for slug in views if (found := read_result(Path(paths.evaluation(run.id, slug, "metrics.json"))))
    }
    job = _job(run, paths)
    first = next((results[slug] for slug in views if slug in results and "+" not in slug), {})
    memory = (record or {}).get("peak_memory_bytes", {})
    config = run.config
    return {
        "id": run.id,
        "status": _status(run, paths, record),
        "method": config.method,
        "data": f"{config.dataset}.{config.labels.protocol}",
        "seed": config.seed,
        "draw": config.labels.draw,
        "classifier": config.options.needs_labelled,
        "top1": first.get("top1"),
        "steps": (record or {}).get("steps"),
        "seconds": (record or {}).get("seconds"),
        "gpu_hours": (record or {}).get("gpu_hours"),
        "job_seconds": job and float(job["s"]),
        "host_bytes": memory.get("host"),
        "gpu_bytes": memory.get("gpu"),
        "device": (record or {}).get("device"),
        "devices": (record or {}).get("devices"),
        "finished": (record or {}).get("finished"),
        "versions": (record or {}).get("versions", {}),
        "git": (record or {}).get("git"),
        "uses": uses,
        "upstream": dict(config.upstream),
        "details": packed(_details(run, record, results, job)),
    }


def _status(run: Run, paths: Paths, record: dict[str, Any] | None) -> str:
    if record is not None:
        return "done"
    return "unfinished" if Path(paths.state(run.id)).is_dir() else "not run"


def _details(
    run: Run, record: dict[str, Any] | None, results: dict[str, dict[str, Any]], job: dict[str, str] | None
) -> list[tuple[str, str]]:
    sections: list[tuple[str, Any]] = [
        ("Settings that differ from the defaults", json.loads(run.canon)),
        ("All settings", run.config.model_dump(mode="json", serialize_as_any=True)),
    ]
    if record is not None:
        sections.append(("Versions, device, time, remarks (run.json)", _without(record, "config")))
    for slug, result in results.items():
        sections.append((f"Metrics of {slug}", _without(result, *HIDDEN)))
    if job is not None:
        sections.append(("Time and memory of the job (Snakemake's benchmark)", job))
    return [(title, _yaml(content)) for title, content in sections]


def _yaml(content: Any) -> str:
    """As in the files of config/: lists of numbers in one line, the order kept."""
    return yaml.dump(content, Dumper=DUMPER, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _job(run: Run, paths: Paths) -> dict[str, str] | None:
    """Snakemake's measurements of the training job, of its last attempt; None when there are none."""
    for stage in STAGES:
        path = Path(paths.benchmark(stage, run.id))
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        try:
            float(lines[-1]["s"])
        except (IndexError, KeyError, ValueError):
            raise UserError(f"{path} is damaged: remove it") from None
        return {str(name): str(value) for name, value in lines[-1].items()}
    return None
