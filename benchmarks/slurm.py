"""What Snakemake costs on top of SLURM, on a cluster that is started here (`tests/slurm/cluster.py`; needs root).

    python benchmarks/slurm.py [--jobs 200]

First time and memory of planning twice the papers' scale, beside those of the demo. Then the same jobs of one second
each, by plain `sbatch` and by Snakemake with the project's profile: the wall time, and from submission to start. The
ratio is the price of the controller and of the two Snakemake processes in each job. Without SLURM only plans are timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.slurm.cluster import Cluster, UnavailableError, cluster

ROOT = Path(__file__).resolve().parents[1]

SNAKEFILE = """
rule all:
    input:
        expand("{job}.done", job=range(%d)),


rule one:
    output:
        "{job}.done",
    resources:
        mem_mb=500,
        runtime=5,
    shell:
        "sleep 1; touch {output}"
"""


class Cost(NamedTuple):
    """Of one command: seconds on the clock, CPU seconds and the largest memory (MB) of one process."""

    clock: float
    cpu: float
    memory: float


def cost(command: list[str], folder: Path) -> Cost:
    """Run a command and its children to the end. Raises RuntimeError where it fails."""
    began = time.monotonic()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder / "output.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}\n{log.read()[-2000:]}")
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def waits(machine: Cluster, folder: Path) -> list[float]:
    """Seconds from submission to start of the jobs that were submitted from a folder."""

    def moment(text: str) -> float:
        return datetime.fromisoformat(text).timestamp()

    jobs = [job for job in machine.jobs() if job["WorkDir"] == str(folder)]
    return [moment(job["StartTime"]) - moment(job["SubmitTime"]) for job in jobs]


def by_sbatch(count: int, folder: Path) -> Cost:
    """The jobs without Snakemake."""
    began = time.monotonic()
    submit = ["sbatch", "--parsable", "--output=/dev/null", "--mem=500", "--time=5", "--wrap", "sleep 1"]
    numbers = [subprocess.run(submit, cwd=folder, capture_output=True, check=True).stdout for _ in range(count)]
    last = ":".join(number.decode().strip() for number in numbers)
    wait = ["sbatch", "--wait", "--output=/dev/null", f"--dependency=afterany:{last}", "--wrap", "true"]
    used = cost(wait, Path(tempfile.mkdtemp(dir=folder)))
    return Cost(time.monotonic() - began, used.cpu, used.memory)


def by_snakemake(count: int, folder: Path) -> Cost:
    """The jobs by Snakemake with the project's profile."""
    (folder / "Snakefile").write_text(SNAKEFILE % count)
    return cost(["snakemake", "--profile", str(ROOT / "slurm")], folder)


def overhead(count: int) -> None:
    """Print what the jobs cost in both ways."""
    with cluster() as machine, tempfile.TemporaryDirectory() as temporary:
        found = {}
        for name, way in (("sbatch", by_sbatch), ("snakemake", by_snakemake)):
            folder = Path(temporary) / name
            folder.mkdir()
            used = way(count, folder)
            queued = waits(machine, folder)
            found[name] = used
            print(f"{name:10} {count} jobs of one second: {used.clock:7.1f} s, {used.clock / count:6.2f} s a job")
            print(f"{'':10} submission to start: median {statistics.median(queued):.0f} s, most {max(queued):.0f} s")
            print(f"{'':10} the command itself: {used.cpu:.1f} CPU s, {used.memory:.0f} MB", flush=True)
        print(f"wall time by Snakemake / by sbatch: {found['snakemake'].clock / found['sbatch'].clock:.2f}")


def planning() -> None:
    """Print what a plan of everything costs at two scales."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        twice = Path(temporary) / "six-seeds.yaml"
        twice.write_text("seeds: [0, 1, 2, 3, 4, 5]\n")
        for name, overlay in (("the demo", ROOT / "config/demo.yaml"), ("papers, six seeds", twice)):
            configured = ["--configfile", str(overlay)]
            listed = [sys.executable, str(ROOT / "workflow/cli.py"), "config", "grid", *configured]
            runs = len(subprocess.run(listed, capture_output=True, check=True).stdout.splitlines()) - 1
            used = cost(
                ["snakemake", "-n", "--quiet", "--snakefile", str(ROOT / "Snakefile"), *configured], Path(temporary)
            )
            found.append(used)
            print(f"plan of {name}, {runs} runs: {used.clock:.1f} s, {used.memory:.0f} MB", flush=True)
    small, large = found
    print(f"ratio: time {large.clock / small.clock:.1f}, memory {large.memory / small.memory:.1f}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200, help="jobs of one second")
    count = parser.parse_args().jobs
    planning()
    try:
        overhead(count)
    except UnavailableError as error:
        print(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
