"""One training on several devices: the same weights as on one, however the processes were started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.slurm.campaign import Campaign, tensors, tiny
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import the_run

STEPS = 6


def config(**devices: int) -> dict[str, Any]:
    """Trainings with a global batch of two batches of a device."""
    small = tiny(STEPS, global_labelled=4)
    return small | ({"devices": {"all": devices}} if devices else {})


@pytest.mark.parametrize("devices", [{"devices": 2}, {"nodes": 2}], ids=["one-node", "two-nodes"])
def test_two_devices_are_one(
    cluster: Cluster, checkout: Path, undisturbed: Campaign, tmp_path: Path, devices: dict[str, int]
) -> None:
    alone = Campaign(checkout, tmp_path / "alone", config())
    run = the_run(alone)
    alone.run(alone.model(run), slurm=False)

    both = Campaign(checkout, tmp_path / "both", config(**devices))
    try:
        both.run(both.model(run))
    finally:
        both.end(cluster)
    assert json.loads((both.folder / both.model(run)).with_name("run.json").read_text())["devices"] == 2
    asked = cluster.job(both.job(run))
    assert asked["NumNodes"] == str(devices.get("nodes", 1))

    ours, theirs = (tensors(where.folder / where.model(run)) for where in (both, alone))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
