"""`cli.py slurm doctor` on a cluster that is fit, and with a site's keys that are not."""

from __future__ import annotations

from tests.slurm.campaign import Campaign
from tests.slurm.cluster import PARTITIONS, Cluster


def test_a_fit_cluster(cluster: Cluster, campaign: Campaign) -> None:
    # half a minute on a machine with nothing else to do, minutes on a busy one
    answer = campaign.cli("slurm", "doctor", "--seconds", "360", "--configfile", str(campaign.file))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert ", 0 problem(s)" in answer.stdout
    assert "SIGURG reached" in answer.stdout
    left = [job for job in cluster.queue() if cluster.job(job).get("WorkDir") == str(campaign.folder)]
    assert left == []


def test_a_partition_that_does_not_exist(cluster: Cluster, campaign: Campaign) -> None:
    answer = campaign.cli("slurm", "doctor", "--partition", "nowhere", "--configfile", str(campaign.file))
    assert answer.returncode != 0
    assert "PROBLEM  jobs of `train`: there is no partition `nowhere`" in answer.stdout
    # the ones that there are
    assert ", ".join(PARTITIONS) in answer.stdout
