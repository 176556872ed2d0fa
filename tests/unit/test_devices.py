"""The same run on one process and on two: losses, weights, banks, prototypes, averages and records to rounding."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.videos import make_folder
from tiny_methods import tiny_run
from upstream import upstream_for

from ssar.config import RunConfig, canonical
from ssar.engine.train import train
from ssar.runtime import Runtime

COMMON: dict[str, Any] = {
    "dataset": "tiny",
    "data.tg_source": "online",
    "labels.protocol": "per-class-2",
    "seed": 3,
    "augment.weak.short_side": 20,
    "augment.weak.size": 16,
    "augment.unlabelled": None,
    "model.stem_pool": False,
    "train.epochs": None,
    "train.steps": 3,
    "train.labelled": 1,
    "train.unlabelled": 2,
    "train.global_labelled": 4,
    "train.supervised_warmup_epochs": 0.0,
    "train.precise_bn": 2,
    "optim.warmup_epochs": 0.0,
    "optim.lr": 0.001,  # so small that rounding does not grow to more than rounding
}
# four shares a step, so that each of two processes has two of them: one after the other, or side by side
RUNS: dict[str, dict[str, Any]] = {
    # contrast and batch normalisation over all shares, dropout, an average of the weights
    "ltg": {"method": "ltg", "train.batch_norm": "step", "train.ema": 0.9, "model.dropout": 0.5},
    # the contrast over all shares, batch normalisation of each
    "ltg own statistics": {"method": "ltg", "model.dropout": 0.5, "train.exchange": 2},
    "cmpl": {"method": "cmpl", "train.record_epochs": 1.0, "options.threshold": 0.2},
    # Adam would make steps of the rounding in the gradient of a bias whose gradient is zero
    "timebalance_ssl": {
        "method": "timebalance_ssl",
        "optim.name": "sgd",
        "options.w_distinctive": 1.0,
        "options.w_invariant": 1.0,
    },
    "timebalance": {"method": "timebalance"},
    # bank, prototypes, centre, averaged teacher, record
    "acl_mtl": {"method": "acl_mtl", "train.record_epochs": 1.0, "options.threshold": 0.2, "model.dropout": 0.5},
    "acl_mtl simclr": {"method": "acl_mtl", "options.contrast": "simclr", "train.batch_norm": "step"},
}
RUNTIME = Runtime(accelerator="cpu", workers=0, threads=1, log_every=1)
SCRIPT = """
import json, sys
from pathlib import Path
from ssar.config import parse_run
from ssar.engine.train import train
from ssar.runtime import Runtime

if __name__ == "__main__":
    folder, videos, runtime = Path(sys.argv[1]), Path(sys.argv[2]), Runtime.model_validate_json(sys.argv[3])
    for name, (config, upstream) in json.loads((folder / "runs.json").read_text()).items():
        here = folder / name
        upstream = {role: Path(path) for role, path in upstream.items()}
        run = parse_run(config)
        train(run, videos / "split.csv", videos / "videos", None, here / "out", here / "state", runtime, upstream)
    import torch
    from ssar.engine.agreement import agree
    from ssar.engine.devices import launched

    fabric = launched(run, runtime)
    same, rank = torch.ones(3), torch.tensor(1.0 + fabric.global_rank)
    agree(fabric, {"same": same}, "at the end")
    try:
        agree(fabric, {"same": same, "bank": rank}, "at the end")
    except RuntimeError as error:
        (folder / f"told-{fabric.global_rank}").write_text(str(error))
"""


def settings(name: str) -> RunConfig:
    changes = COMMON | RUNS[name]
    return tiny_run(changes.pop("method"), **changes)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `videos/` of three classes and `split.csv`."""
    folder = tmp_path_factory.mktemp("tiny")
    paths = make_folder(folder / "videos", classes=3, per_class=4, frames=40, size=(24, 32))
    with open(folder / "split.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "class", "group", "frames", "labelled", "unlabelled", "test"])
        for number, path in enumerate(paths):
            name, place = path.split("/")[0], number % 4
            writer.writerow([path, int(name[-1]), name, "", 40, int(place < 2), int(place < 3), int(place == 3)])
    return folder


@pytest.fixture(scope="module")
def upstream(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """The files of other runs that each of the runs needs, by role."""
    folder = tmp_path_factory.mktemp("upstream")
    with open(videos / "split.csv") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    return {name: upstream_for(settings(name), folder / name, paths) for name in RUNS}


@pytest.fixture(scope="module")
def two(
    videos: Path, upstream: dict[str, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory, root: Path
) -> Path:
    """The outputs of all runs on two processes, trained one after the other by the same two."""
    folder = tmp_path_factory.mktemp("two")
    runs = {name: (canonical(settings(name)), {k: str(v) for k, v in upstream[name].items()}) for name in RUNS}
    (folder / "runs.json").write_text(json.dumps(runs))
    (folder / "run.py").write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(folder / "run.py")]
    words = [str(folder), str(videos), RUNTIME.model_copy(update={"devices": 2}).model_dump_json()]
    environment = os.environ | {"PYTHONPATH": str(root / "workflow"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *launch, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    content = torch.load(out / "model.pt", weights_only=True)
    return {f"{part}.{name}": value for part in ("predictor", "method") for name, value in content[part].items()}


def curves(out: Path) -> list[dict[str, float]]:
    with open(out / "curves.csv") as file:
        rows = [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k not in ("clips_per_second", "data_wait_share")} for row in rows]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_do_what_one_does(
    name: str, two: Path, videos: Path, upstream: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    split, state = videos / "split.csv", tmp_path / "state"
    train(settings(name), split, videos / "videos", None, tmp_path / "out", state, RUNTIME, upstream[name])
    one, both = weights(tmp_path / "out"), weights(two / name / "out")
    assert one.keys() == both.keys()
    apart = {key: float((value.double() - both[key].double()).abs().max()) for key, value in one.items()}
    different = {key: apart[key] for key in one if not torch.allclose(one[key], both[key], rtol=1e-4, atol=5e-5)}
    assert different == {}
    assert len(curves(tmp_path / "out")) == 3
    for row, other in zip(curves(tmp_path / "out"), curves(two / name / "out"), strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-6, nan_ok=True)
    assert json.loads((two / name / "out" / "run.json").read_text())["devices"] == 2
    record = tmp_path / "out" / "pseudo_labels.npz"
    assert record.exists() == bool(settings(name).train.record_epochs)
    if record.exists():
        with np.load(record) as own, np.load(two / name / "out" / "pseudo_labels.npz") as theirs:
            assert np.array_equal(own["label"], theirs["label"])
            assert np.allclose(own["confidence"], theirs["confidence"], atol=1e-4)


def test_processes_that_keep_different_things_are_told_of_it(two: Path) -> None:
    for rank in range(2):
        assert "at the end: the processes disagree on bank (sums [1.0, 2.0])" in (two / f"told-{rank}").read_text()
