"""A small results folder as the pipeline leaves it, with made-up numbers, for the tests of the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from ssar.files import write_json, write_text
from ssar.grid import build
from ssar.project import CONFIG
from ssar.reporting.claims.write import COLUMNS
from ssar.targets import Targets

EVIL = "</script><script>window.broken = 1</script> \"'& <b>bold</b> класс/клас.avi"
"""A class name, a device, a path: none of it may become anything but text."""

DONE = ("fixmatch-rgb", "no-contrast", "ltg")
"""The variants of LTG's Table 1 that have run; `no-alignment` has one seed of two."""

SETTING = "ucf101.videossl-20"


def targets(folder: Path, *, note: str | None = "Not comparable: a test.") -> Targets:
    """LTG at the demo's scale with its results under `folder`, whose files nobody has made yet."""
    overlay = folder / "overlay.yaml"
    asked = ["tables/table1.tex", "tables/ltg/table3c.md", "figures/ltg/figure3.pdf", "figures/ltg/figure5.pdf"]
    values = {"results": str(folder / "results"), "targets": [*asked, "claims/ltg.md", "report.html"], "note": note}
    write_text(overlay, yaml.safe_dump(values))
    return Targets(build([CONFIG / "config.yaml", CONFIG / "demo.yaml", overlay]))


def fill(made: Targets) -> None:
    """Runs of `DONE` and half of those of no-alignment, one figure of two, verdicts on two claims."""
    for number, variant in enumerate((*DONE, "no-alignment")):
        for run in made.grid.select("ltg", variant, SETTING)[: 1 if variant == "no-alignment" else None]:
            _run(made, run.id, top1=20.0 + 10 * number + run.config.seed, lines=450 if variant == "ltg" else 30)
    _figure(Path(made.paths.figure("ltg/figure3", "png")))
    _claims(made)


def _run(made: Targets, run: str, top1: float, lines: int) -> None:
    config = json.loads(made.run(run).canon)
    seed = made.run(run).config.seed
    record = {
        "config": config,
        "ssar": "0.1.0",
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "device": EVIL,
        "devices": 1,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
        "seconds": 3600.0 + seed,
        "gpu_hours": 1.0,
        "steps": lines * 10,
        "peak_memory_bytes": {"host": 2_000_000_000, "gpu": 700_000_000},
    }
    write_json(made.paths.run(run, "run.json"), record)
    metrics = {"run": run, "config": config, "views": made.grid.views("ltg"), "n": 10, "top1": top1, "top5": 90.0}
    write_json(
        made.paths.evaluation(run, made.grid.views("ltg"), "metrics.json"),
        metrics | {"per_class": {EVIL: top1}, "confusion": [[1]], "provenance": record},
    )
    steps = np.arange(1, lines + 1) * 10
    columns = {
        "step": steps,
        "epoch": steps / 30,
        "lr": np.full(lines, 0.1),
        "loss": 3 * np.exp(-steps / steps[-1]) + seed,
        "labelled_rgb": np.exp(-steps / steps[-1]),
        "gradient_norm": np.full(lines, 2.0),
        "labelled_accuracy_rgb": 1 - np.exp(-steps / steps[-1]),
        "pseudo_rate": np.linspace(0, 1, lines),
        "pseudo_accuracy": np.linspace(0.5, 1, lines),
        "clips_per_second": np.full(lines, 100.0 + seed),
    }
    rows = [
        ",".join(
            "" if name == "pseudo_accuracy" and not line else repr(float(values[line]))
            for name, values in columns.items()
        )
        for line in range(lines)
    ]
    write_text(made.paths.run(run, "curves.csv"), "\n".join([",".join(columns), *rows]) + "\n")
    write_text(made.paths.benchmark("train_student", run), "s\th:m:s\tmax_rss\n3612.5\t1:00:12\t1900.25\n")


def _figure(path: Path, size: tuple[int, int] = (1400, 600)) -> None:
    path.parent.mkdir(parents=True)
    ramp = np.linspace(0, 255, size[0], dtype=np.uint8)
    Image.fromarray(np.broadcast_to(ramp, size[::-1]).copy()).convert("RGB").save(path)


def _claims(made: Targets) -> None:
    path = Path(made.paths.claims("ltg", "csv"))
    path.parent.mkdir(parents=True)
    declared = list(made.grid.papers["ltg"].claims)
    runs = " ".join(run.id for run in made.grid.select("ltg", "ltg", SETTING))
    common = {"comparison": f"ltg > {EVIL}", "setting": SETTING, "measured_on": "synthact.percent-10", "runs": runs}
    numbers = {"effect": "32.5", "low": "20.25", "high": "41.0", "published": "22.0"}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerow(common | numbers | {"claim": declared[0], "verdict": "confirmed", "overall": "confirmed"})
        writer.writerow(
            common | numbers | {"claim": declared[1], "low": "-50.0", "verdict": "undecided", "overall": "undecided"}
        )
        writer.writerow({"claim": declared[2], "verdict": "not run", "overall": "not run", "remarks": "no such run"})
