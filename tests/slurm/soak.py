"""Sixty trainings that build on each other, hit by requeues, cancellations, kills and lost nodes: `make soak-slurm`.

Pretrained networks, teachers and students of TimeBalance (Table 1, five seeds) are trained twice with the same
configuration: without a scheduler and undisturbed, then through the project's SLURM profile, while a thread with a
seeded generator does harm. The command is given again, after `--unlock`, until the table is there. It must be the
undisturbed one, byte for byte, and so must the weights; an attempt must continue where the newest checkpoint was.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import torch

from tests.slurm.campaign import Campaign, Controller, copy_checkout, tensors, tiny
from tests.slurm.cluster import NODES, READY, Cluster, UnavailableError, cluster

STEPS = 60
TABLE = "tables/timebalance/table1"
FAULTS = {"requeue": 6, "cancel": 4, "kill training": 6, "kill node": 2, "kill controller": 1}
"""Kinds of harm and how often each is chosen."""
TRAINING = re.compile(r"rule_(train_student|pretrain_teacher|finetune_teacher)_wildcards_(.+)")
AT_ONCE = 4
"""Jobs of one Snakemake: the cluster has more CPUs than the machine."""
REVIVED_AFTER = 30.0
"""Seconds that a node is away."""


def config(seeds: int) -> dict[str, Any]:
    """Table 1 of TimeBalance in one setting: twelve trainings for each seed."""
    small = tiny(STEPS)
    small |= {
        "papers": ["timebalance"],
        "paper": "timebalance",
        "seeds": list(range(seeds)),
        "views": "1x1@16",
        "settings": {"ucf101.videossl-5": {"dataset": "synthact", "labels": "per-class-2"}},
    }
    everything = small["overrides"]["all"] | {"augment.unlabelled": None}
    pretraining = {
        "clip": {"frames": 4, "stride": 1},
        "train": {"labelled": 1, "unlabelled": 2},
        "model.temporal_strides": [1] * 4,
        "options": {"clips": 2, "projection": [8, 4]},
    }
    small["overrides"] = {"all": everything, "timebalance_ssl": pretraining}
    small["runtime"]["checkpoint_minutes"] = 1 / 60
    return small


@dataclass
class Chaos:
    """Does harm to running trainings, to nodes and to the controller, until it is told to stop."""

    machine: Cluster
    campaign: Campaign
    chance: random.Random
    every: float
    done: Counter[str] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    """Jobs that a fault has hit."""
    controller: Controller | None = None
    over: threading.Event = field(default_factory=threading.Event)
    away: dict[str, float] = field(default_factory=dict)
    """Nodes that are down, and when they come back."""

    def run(self) -> None:
        """Harm now and then; in the end all nodes are back."""
        try:
            while not self.over.wait(self.chance.uniform(0.5, 1.5) * self.every):
                if self.machine.revive_controller():
                    self.done["slurmctld crashed by itself"] += 1
                self._return_nodes()
                kind = self.chance.choices(list(FAULTS), list(FAULTS.values()))[0]
                if self._harm(kind):
                    self.done[kind] += 1
        finally:
            self.machine.revive_controller()
            self._return_nodes(everything=True)

    def _harm(self, kind: str) -> bool:
        """Whether there was something to harm."""
        if kind == "kill controller":
            if self.controller is None or self.controller.process.poll() is not None:
                return False
            self.controller.kill()
            return True
        running = [
            job for job in self.machine.jobs() if job["JobState"] == "RUNNING" and TRAINING.match(job["Comment"])
        ]
        # the fewer run, the seldomer one is hit: a job that is alone would never get through its start
        if self.chance.random() * AT_ONCE >= len(running):
            return False
        job = self.chance.choice(running)
        number, node = job["JobId"], job["NodeList"]
        hit = {number}
        try:
            if kind == "requeue":
                self.machine.requeue(number)
            elif kind == "cancel":
                self.machine.cancel(number)
            elif kind == "kill training":
                if not self.machine.kill_training(number):
                    return False
            elif len(self.away) < len(NODES) - 2 and node in NODES:
                hit = {other["JobId"] for other in running if other["NodeList"] == node}
                self.machine.kill_node(node)
                self.away[node] = time.monotonic() + REVIVED_AFTER
            else:
                return False
        except RuntimeError:  # it ended a moment ago
            return False
        self.lost |= hit
        return True

    def _return_nodes(self, everything: bool = False) -> None:
        for node, moment in list(self.away.items()):
            # a node that comes back before it was missed has lost its jobs without the controller's knowledge
            if everything or (time.monotonic() > moment and self.machine.states().get(node) not in READY):
                self.machine.revive(node)
                del self.away[node]


@dataclass
class Account:
    """The attempts of all trainings, by what their logs say. A job removes the log of the one before it."""

    campaign: Campaign
    logs: dict[tuple[str, int], str] = field(default_factory=dict)
    """By run and number of the attempt."""

    def look(self) -> None:
        """Note what the logs say now."""
        for file in self.campaign.results.glob("logs/*/*.log"):
            if file.parent.name in ("train_student", "pretrain_teacher", "finetune_teacher"):
                text = file.read_text(errors="replace")
                parts = re.split(r"^.*-{8} attempt (\d+) .*$", text, flags=re.MULTILINE)
                for number, part in zip(parts[1::2], parts[2::2], strict=True):
                    self.logs[file.stem, int(number)] = part

    def runs(self) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """For each run the attempts that trained: where they began, and the last step that they told of."""
        for run in sorted({run for run, _ in self.logs}):
            trained = []
            for _, text in sorted((number, text) for (name, number), text in self.logs.items() if name == run):
                begun = re.search(r"continuing at step (\d+)", text)
                told = [int(step) for step in re.findall(r"training: (\d+)/", text)]
                if begun or told:
                    start = int(begun[1]) if begun else 0
                    trained.append((start, max([start, *told])))
            yield run, trained

    def repeated(self) -> int:
        """Steps that an attempt told of and another one did again."""
        return sum(
            max(0, end - begin) for _, tried in self.runs() for (_, end), (begin, _) in itertools.pairwise(tried)
        )

    def from_zero(self) -> list[str]:
        """Runs of which more than one attempt went from the beginning to the end."""
        return [run for run, tried in self.runs() if sum(part == (0, STEPS) for part in tried) > 1]


def trained(campaign: Campaign) -> list[str]:
    """The runs that have been trained."""
    return sorted(path.parent.name for path in campaign.results.glob("runs/*/model.pt"))


def unlike(ours: Campaign, theirs: Campaign) -> Iterator[str]:
    """What differs between two campaigns: tables by their bytes, weights by their bits."""
    for suffix in ("tex", "md", "csv"):
        name = f"{TABLE}.{suffix}"
        if (ours.results / name).read_bytes() != (theirs.results / name).read_bytes():
            yield name
    for run in trained(theirs):
        first, second = tensors(ours.results / f"runs/{run}/model.pt"), tensors(theirs.results / f"runs/{run}/model.pt")
        if first.keys() != second.keys() or any(not torch.equal(first[key], second[key]) for key in first):
            yield f"{run}/model.pt"


def soak(machine: Cluster, folder: Path, seeds: int, chance: random.Random, every: float, limit: float) -> int:
    """Both campaigns and the comparison; the exit status."""
    began = time.monotonic()
    checkout = copy_checkout(folder / "checkout")
    calm = Campaign(checkout, folder / "calm", config(seeds))
    target = f"{calm.config['results']}/{TABLE}.tex"
    quiet = calm.start(target, slurm=False)
    if quiet.process.wait(limit):
        print(f"the undisturbed campaign failed\n{quiet.text[-3000:]}", file=sys.stderr)
        return 1
    undisturbed = time.monotonic() - began
    runs = trained(calm)
    print(f"{len(runs)} trainings without a scheduler and undisturbed: {undisturbed:.0f} s", flush=True)

    harmed = Campaign(checkout, folder / "harmed", config(seeds))
    chaos = Chaos(machine, harmed, chance, every)
    thread = threading.Thread(target=chaos.run)
    account = Account(harmed)
    calls, again = 0, time.monotonic()
    thread.start()
    try:
        while not (harmed.folder / target).exists() or calls == 0:
            if time.monotonic() - began > limit:
                print(f"not done after {limit:.0f} s\n{harmed.told()[-3000:]}", file=sys.stderr)
                return 1
            if calls:
                subprocess.run(
                    harmed.snakemake("--unlock"), cwd=harmed.folder, env=harmed.environment, capture_output=True
                )
            calls += 1
            chaos.controller = harmed.start("--jobs", str(AT_ONCE), target)
            while chaos.controller.process.poll() is None:
                account.look()
                if time.monotonic() - began > limit:
                    chaos.controller.kill()
                time.sleep(2)
    finally:
        chaos.over.set()
        thread.join()
    disturbed = time.monotonic() - again
    harmed.end(machine)

    account.look()
    steps = STEPS * len(runs)
    print(f"the same through SLURM and disturbed: {disturbed:.0f} s, {disturbed / undisturbed:.2f} times as long")
    print(f"the command was given {calls} times")
    print(f"faults: {', '.join(f'{kind} {count}' for kind, count in sorted(chaos.done.items()))}")
    print(f"jobs that were hit: {len(chaos.lost)}; attempts: {len(account.logs)} for {len(runs)} runs")
    # a step after the last line of a log is not seen; checkpoints, a second apart, bound what is lost
    print(f"steps told of and done again: {account.repeated()} of {steps}, {account.repeated() / steps:.1%}")
    wrong = [f"{run} was trained twice from the beginning" for run in account.from_zero()]
    wrong += [f"{name} is not that of the undisturbed campaign" for name in unlike(harmed, calm)]
    print("\n".join(wrong) if wrong else "the table and all weights are those of the undisturbed campaign")
    return 1 if wrong else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="of the trainings, twelve for each")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--every", type=float, default=20.0, help="mean seconds between two faults")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which it is given up")
    parser.add_argument("--folder", type=Path, help="where it works, to be looked at afterwards; none: a temporary one")
    args = parser.parse_args()
    try:
        with cluster() as machine, tempfile.TemporaryDirectory() as temporary:
            folder = args.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            return soak(machine, folder, args.seeds, random.Random(args.seed), args.every, args.limit)
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
