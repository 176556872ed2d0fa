"""The command of the documentation, in a fresh checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.slurm.campaign import PATIENCE, Campaign, Controller, copy_checkout, tiny
from tests.slurm.cluster import Cluster

COMMAND = ["snakemake", "--profile", "slurm", "results/tables/table2.tex"]
HEAVY = {"synthact", "index", "extract_tg", "train_student", "predict"}


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two configurations, one over the other."""
    both = {
        key: merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return below | both


def test_table2_through_slurm(cluster: Cluster, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "ssar")
    file = checkout / "config/config.yaml"
    small = tiny(2) | {"results": "results"}
    # a GPU is asked of SLURM, though the training does not use it
    small["resources"]["train"]["gpu"] = 1
    file.write_text(yaml.safe_dump(merged(yaml.safe_load(file.read_text()), small)))

    environment = Campaign(checkout, tmp_path / "elsewhere", small).environment
    controller = Controller(COMMAND, checkout, environment)
    # sixteen jobs, one after the other in four stages
    assert controller.wait(2 * PATIENCE) == 0, controller.text[-6000:]

    table = (checkout / "results/tables/table2.tex").read_text()
    assert "tabular" in table
    trained = list(checkout.glob("results/runs/*/model.pt"))
    assert len(trained) >= 4

    jobs = [job for job in cluster.jobs() if Path(job["WorkDir"]) == checkout]
    assert {rule(job) for job in jobs} == HEAVY
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    training = [job for job in jobs if rule(job) == "train_student"]
    assert len(training) == len(trained)
    assert [job for job in jobs if any("gres:gpu" in value for value in job.values())] == training


def rule(job: dict[str, str]) -> str:
    """The rule of a job, whose comment is rule_<name>_wildcards_<values>."""
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
