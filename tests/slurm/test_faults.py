"""Real trainings that are hit by what happens on clusters; in the end their weights are those of an undisturbed one."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from ssar.engine.state import CHECKPOINT, Failure, Progress
from tests.slurm import processes
from tests.slurm.campaign import PATIENCE, Campaign, tensors
from tests.slurm.cluster import Cluster
from tests.slurm.processes import frozen, wait_for

pytestmark = pytest.mark.timeout(int(2 * PATIENCE))


def assert_same_weights(campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """Every bit of every tensor is that of the undisturbed training."""
    ours, theirs = (tensors(where.folder / where.model(run)) for where in (campaign, undisturbed))
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def continued_at(campaign: Campaign, run: str) -> int:
    """The step at which the newest attempt has continued."""
    found = re.findall(r"continuing at step (\d+)", campaign.log(run))
    assert found, campaign.log(run)
    return int(found[-1])


def last_line(text: str) -> str:
    """The last line that says something."""
    return text.strip().splitlines()[-1]


def status(campaign: Campaign, run: str) -> str:
    """What `cli.py status` says of a run, in a word."""
    answer = campaign.cli("status", run, "--configfile", str(campaign.file))
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()[0].removeprefix("1 run: 1 ")


def files(folder: Path) -> dict[str, str]:
    """The content of all files under a folder, as checksums."""
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_time_limit(cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """The warning before the time limit: the training saves its state and queues itself again."""
    controller = campaign.start(campaign.model(run))
    campaign.await_checkpoint(run, controller)
    job = campaign.job(run)
    (training,) = cluster.trainings(job)
    with frozen([training]):
        reached = campaign.checkpoint(run)
        # less is left than the time of the warning, so the next look at the clock brings it
        cluster.limit(job, 1)
        assert wait_for(lambda: processes.warned(training, signal.SIGURG), 50), "no warning"
    assert wait_for(lambda: cluster.job(job).get("Restarts") == "1", 60), cluster.job(job)
    assert campaign.checkpoint(run) > reached, "the state at the warning was not saved"
    reached = campaign.checkpoint(run)
    cluster.limit(job, 60)

    assert controller.wait() == 0, controller.text[-4000:]
    assert continued_at(campaign, run) == reached
    newest = campaign.attempt(run)
    assert newest is not None
    assert (newest.attempt, newest.job) == (2, job)
    assert_same_weights(campaign, undisturbed, run)


def test_time_limit_told_as_with_cgroups(cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """The warning reaches only what SLURM itself has started, and Snakemake is between that and the training."""
    controller = campaign.start(campaign.model(run))
    campaign.await_checkpoint(run, controller)
    job = campaign.job(run)
    (training,) = cluster.trainings(job)
    with frozen([training]):
        reached = campaign.checkpoint(run)
        assert processes.send(signal.SIGURG, cluster.started_by_slurm(job)) >= 2
        assert wait_for(lambda: processes.warned(training, signal.SIGURG), 60), "no warning"
    assert wait_for(lambda: cluster.job(job).get("Restarts") == "1", 60), cluster.job(job)
    assert campaign.checkpoint(run) > reached, "the state at the warning was not saved"

    assert controller.wait() == 0, controller.text[-4000:]
    newest = campaign.attempt(run)
    assert newest is not None
    assert (newest.attempt, newest.job) == (2, job)
    assert_same_weights(campaign, undisturbed, run)


def test_preemption(cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """`scontrol requeue` from outside: Snakemake does not notice."""
    controller = campaign.start(campaign.model(run))
    reached = campaign.await_checkpoint(run, controller)
    job = campaign.job(run)
    cluster.requeue(job)

    assert controller.wait() == 0, controller.text[-4000:]
    assert continued_at(campaign, run) >= reached
    newest = campaign.attempt(run)
    assert newest is not None
    assert (newest.attempt, newest.job) == (2, job)
    assert_same_weights(campaign, undisturbed, run)


def test_cancelled_and_its_newest_checkpoint_torn(
    cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str
) -> None:
    """`scancel`; the file system loses the end of the newest checkpoint; Snakemake is called again."""
    controller = campaign.start("--retries", "0", campaign.model(run))
    reached = campaign.await_checkpoint(run, controller)
    reached = campaign.await_checkpoint(run, controller, beyond=reached)
    cluster.cancel(campaign.job(run))
    assert controller.wait() != 0
    checkpoints = sorted(path for path in campaign.state(run).iterdir() if CHECKPOINT.fullmatch(path.name))
    assert len(checkpoints) == 2
    assert campaign.checkpoint(run) >= reached
    # being cancelled is no failure of the training
    assert Failure.read(campaign.state(run)) is None
    with checkpoints[-1].open("r+b") as file:
        file.truncate(checkpoints[-1].stat().st_size // 2)

    campaign.run(campaign.model(run))
    assert continued_at(campaign, run) == int(checkpoints[0].name.split("-")[1])
    assert checkpoints[-1].name in campaign.log(run)
    assert_same_weights(campaign, undisturbed, run)


def test_killed_for_want_of_memory(cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """SIGKILL to the training process: the reason is told, and Snakemake called again continues."""
    controller = campaign.start("--retries", "0", campaign.model(run))
    campaign.await_checkpoint(run, controller)
    assert status(campaign, run) == "running"
    job = campaign.job(run)
    (training,) = cluster.trainings(job)
    with frozen([training]):
        reached = campaign.checkpoint(run)
        cluster.kill_training(job)
    assert controller.wait() != 0
    failure = Failure.read(campaign.state(run))
    assert failure is not None
    assert "memory" in failure.reason
    assert failure.job == job
    assert last_line(campaign.log(run)) == f"ssar: {failure.reason}"
    assert status(campaign, run) == "failed"

    campaign.run(campaign.model(run))
    assert continued_at(campaign, run) == reached
    newest = campaign.attempt(run)
    assert newest is not None
    assert newest.attempt == 2
    assert newest.job != job
    assert Failure.read(campaign.state(run)) is None
    assert Progress.read(campaign.state(run)) is None
    assert status(campaign, run) == "done"
    assert_same_weights(campaign, undisturbed, run)


def test_node_failure(cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """A node goes down with all that runs on it: SLURM starts the job on the other one."""
    campaign.variables = {"SSAR_SLURM_PARTITION": "frail"}
    controller = campaign.start(campaign.model(run))
    campaign.await_checkpoint(run, controller)
    job = campaign.job(run)
    node = cluster.job(job)["NodeList"]
    cluster.kill_node(node)
    try:
        reached = campaign.checkpoint(run)
        assert controller.wait() == 0, controller.text[-4000:]
        assert cluster.job(job)["NodeList"] != node
    finally:
        cluster.revive(node)
    assert continued_at(campaign, run) == reached
    newest = campaign.attempt(run)
    assert newest is not None
    assert (newest.attempt, newest.job) == (2, job)
    assert_same_weights(campaign, undisturbed, run)


@pytest.mark.parametrize("wakes", ["while the next trains", "after the end"])
def test_controller_killed_while_its_job_hangs(
    cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str, wakes: str
) -> None:
    """Snakemake is killed and called again; the job of before wakes up, must change nothing and leaves by itself."""
    controller = campaign.start(campaign.model(run))
    campaign.await_checkpoint(run, controller)
    old = campaign.job(run)
    with frozen(cluster.trainings(old)):
        reached = campaign.checkpoint(run)
        controller.kill()
        subprocess.run(campaign.snakemake("--unlock"), cwd=campaign.folder, env=campaign.environment, check=True)
        controller = campaign.start(campaign.model(run))
        campaign.await_checkpoint(run, controller, beyond=reached, attempt=2)
        assert campaign.job(run) != old
        assert old in cluster.queue("running")
        if wakes == "after the end":
            assert controller.wait() == 0, controller.text[-4000:]
            made = (campaign.folder / campaign.model(run)).parent
            before = files(made) | files(campaign.state(run))
    assert wait_for(lambda: old not in cluster.queue(), 90), "the old attempt does not leave"

    if wakes == "after the end":
        assert files(made) | files(campaign.state(run)) == before
    else:
        assert controller.wait() == 0, controller.text[-4000:]
    assert continued_at(campaign, run) == reached
    newest = campaign.attempt(run)
    assert newest is not None
    assert newest.attempt == 2
    assert status(campaign, run) == "done"
    assert_same_weights(campaign, undisturbed, run)


def test_disk_full_at_a_checkpoint(cluster: Cluster, campaign: Campaign, undisturbed: Campaign, run: str) -> None:
    """A checkpoint that does not fit fails the run and leaves the older ones whole."""
    with small_disk(campaign.state(run)) as disk:
        controller = campaign.start("--retries", "0", campaign.model(run))
        campaign.await_checkpoint(run, controller)
        fill(disk, leaving=60_000)
        assert controller.wait() != 0
        failure = Failure.read(campaign.state(run))
        assert failure is not None
        assert "No space left" in failure.reason
        assert "No space left" in last_line(campaign.log(run))
        assert status(campaign, run) == "failed"
        whole = [path for path in campaign.state(run).iterdir() if CHECKPOINT.fullmatch(path.name)]
        assert whole
        for path in whole:
            assert path.name.split("-")[2].startswith(sha256(path.read_bytes()).hexdigest()[:16])
        reached = campaign.checkpoint(run)
        (disk / "filler").unlink()

        campaign.run(campaign.model(run))
        assert continued_at(campaign, run) == reached
        assert_same_weights(campaign, undisturbed, run)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 MB at a folder; skips where none can be mounted."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "ssar-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leaving: int) -> None:
    """Write until so many bytes are left."""
    block = bytes(4096)
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(block)
    with (disk / "filler").open("r+b") as file:
        file.truncate((disk / "filler").stat().st_size - leaving)
