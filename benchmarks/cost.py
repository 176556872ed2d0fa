"""The forecast of `ssar.cost` beside the measured times of finished trainings.

    python benchmarks/cost.py                                                    # trains four short runs itself
    python benchmarks/cost.py results/benchmark-demo --configfile config/demo.yaml config/benchmark-demo.yaml

Probes this machine in the shapes of the runs of a results folder, forecasts each, and prints it beside what Snakemake
measured (`benchmarks/<rule>/<run>.tsv`): `s`, the time on the clock, and `cpu s`, the process's own time, which other
jobs on the machine move less. Snakemake reads the latter at intervals, the last time up to 30 s before the end, and it
is carried on from there at the same rate. Without a folder, runs of the demo are trained one after the other.

The forecast is meant to be within 30 % of a run that has the machine to itself.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from ssar.cost.plan import Job, Plan, Request
from ssar.cost.probe import measure
from ssar.cost.report import Forecast
from ssar.cost.throughput import Probe
from ssar.grid import Grid
from ssar.project import CONFIG, ROOT, load_project
from ssar.targets import Targets

FIRST, EVERY = 15, 30
"""Seconds until Snakemake measures seldom, and how seldom."""
DEMO = [CONFIG / "demo.yaml", CONFIG / "benchmark-demo.yaml"]
OWN = ("supervised", "fixmatch", "ltg", "cmpl")
"""Variants of the demo that are trained where no folder is given."""


class Measured(NamedTuple):
    """A finished training, in seconds."""

    clock: float
    own: float


def finished(folder: Path) -> Iterator[tuple[str, Measured]]:
    """Every training that Snakemake measured, by the run's id."""
    for path in sorted(folder.glob("benchmarks/*/*.tsv")):
        with path.open(newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        clock = float(row["s"])
        last = FIRST + EVERY * ((clock - FIRST) // EVERY) if clock > FIRST else clock
        yield path.stem, Measured(clock, float(row["cpu_time"]) * clock / last)


def grid_of(files: list[Path], results: Path) -> Grid:
    files = [CONFIG / "config.yaml", *files]
    return Grid(load_project(files).model_copy(update={"results": str(results)}), files)


def trained(folder: Path) -> Iterator[tuple[str, Measured]]:
    """Train runs of the demo, one at a time, and measure each."""
    grid = grid_of(DEMO, folder)
    for variant in OWN:
        run = next(run for run in grid.runs.values() if run.config.method == variant)
        target = f"{folder}/runs/{run.id}/model.pt"
        command = ["snakemake", "-s", str(ROOT / "Snakefile"), "-c1", "--quiet", "all", "--config", f"results={folder}"]
        command += ["--configfile", *map(str, DEMO), "--", target]
        # its own folder, so that it neither waits for nor locks another Snakemake of the checkout
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, check=True, cwd=folder, env={**os.environ, "PATH": path})
    yield from finished(folder)


def compare(grid: Grid, measured: dict[str, Measured], seconds: float, repeat: int, keep: Path | None) -> None:
    """Print each run's forecast beside its time."""
    targets = Targets(grid)
    jobs = {(key := grid.paths.run(run, "model.pt")): Job("train", key, run) for run in measured if run in grid.runs}
    left_out = len(measured) - len(jobs)
    plan = Plan((Request("finished runs", tuple(jobs)),), jobs)
    threads = grid.project.resources.train.threads
    runtime = grid.project.runtime.model_copy(update={"threads": threads})
    errors: dict[str, list[float]] = {"clock": [], "own": []}
    for turn in range(repeat):
        probe = measure(targets, plan, seconds, runtime)
        if keep:
            probe.write(keep)
        costs = Forecast(targets, plan, probe).costs
        show(probe, {job.subject: costs[key] for key, job in jobs.items()}, measured, errors, turn)
    if left_out:
        print(f"{left_out} finished runs are not in this configuration and were left out")
    for name, values in errors.items():
        within = sum(value <= 0.3 for value in values) / len(values)
        label = "clock" if name == "clock" else "own time"
        middle = statistics.median(values)
        print(f"{label:9} median absolute error {100 * middle:.0f} %, within 30 %: {100 * within:.0f} % of the runs")


def show(probe: Probe, costs: dict, measured: dict[str, Measured], errors: dict[str, list[float]], turn: int) -> None:
    about = f"{len(probe.steps)} shapes in {probe.seconds} s, load per core {probe.load}, start {probe.start:.1f} s"
    print(f"probe {turn + 1}: {about}")
    print(f"{'run':58} {'forecast':>8} {'s':>7} {'ratio':>6} {'cpu s':>7} {'ratio':>6}  known by")
    for run, cost in sorted(costs.items()):
        clock, own = measured[run]
        print(
            f"{run:58} {cost.seconds:8.0f} {clock:7.0f} {cost.seconds / clock:6.2f} {own:7.0f} "
            f"{cost.seconds / own:6.2f}  {cost.how}"
        )
        errors["clock"].append(abs(cost.seconds / clock - 1))
        errors["own"].append(abs(cost.seconds / own - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, help="folder that a configuration calls `results`")
    parser.add_argument("--configfile", nargs="+", type=Path, default=DEMO, help="the overlays it was made with")
    parser.add_argument("--seconds", type=float, default=60, help="length of a probe")
    parser.add_argument("--repeat", type=int, default=1, help="probes, one after the other")
    parser.add_argument("--probe", type=Path, help="keep the last probe here")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.results is not None:
        folder, files = options.results.resolve(), options.configfile
        compare(grid_of(files, folder), dict(finished(folder)), options.seconds, options.repeat, options.probe)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measured = dict(trained(folder))
        compare(grid_of(DEMO, folder), measured, options.seconds, options.repeat, options.probe)


if __name__ == "__main__":
    main()
