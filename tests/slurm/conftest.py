"""The cluster, a checkout, a dataset and an undisturbed run: made once, whatever the number of test processes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.campaign import Campaign, copy_checkout, tiny
from tests.slurm.cluster import Cluster, UnavailableError
from tests.slurm.cluster import cluster as bring_up

STEPS = 600
"""Of the trainings that are disturbed: some ten seconds of work, with a checkpoint every other second."""
VARIANT = "ltg:fixmatch-rgb@"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The machine's SLURM cluster; skips, saying what is missing, where there can be none."""
    try:
        with bring_up() as machine:
            yield machine
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder by name, in whichever test process comes first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".made").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                (folder / ".made").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def checkout(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A fresh checkout, not to be changed."""
    return once("checkout", lambda folder: copy_checkout(folder) and None)


@pytest.fixture(scope="session")
def undisturbed(checkout: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Campaign:
    """A run that was trained on this machine without a scheduler and without a fault, with its dataset."""
    config = tiny(STEPS)

    def train(folder: Path) -> None:
        campaign = Campaign(checkout, folder, config)
        campaign.run(campaign.model(the_run(campaign)), slurm=False)

    return Campaign(checkout, once("undisturbed", train), config)


def the_run(campaign: Campaign) -> str:
    """The run that faults are tried on."""
    (found,) = (run for run, users in campaign.runs().items() if VARIANT in users)
    return found


@pytest.fixture
def campaign(undisturbed: Campaign, cluster: Cluster, tmp_path: Path) -> Iterator[Campaign]:
    """A folder with the undisturbed run's dataset and configuration, in which nothing is trained yet."""
    for name in ("data", "splits"):
        shutil.copytree(undisturbed.results / name, tmp_path / str(undisturbed.config["results"]) / name)
    shutil.copytree(undisturbed.folder / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    made = Campaign(undisturbed.checkout, tmp_path, undisturbed.config)
    yield made
    made.end(cluster)


@pytest.fixture
def run(campaign: Campaign) -> str:
    """The id of the run that faults are tried on."""
    return the_run(campaign)
