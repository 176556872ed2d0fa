"""What a job asks for: the site's keys, the configuration's resources, and devices of single trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssar.cost.limits import Limits, Time
from ssar.devices import fitting
from ssar.errors import UserError
from ssar.grid import Grid, build
from ssar.project import CONFIG
from ssar.runtime import Runtime
from ssar.slurm.modules import prefix
from ssar.slurm.request import WARNING, Requests
from ssar.slurm.site import Site
from ssar.targets import Targets

FILES = [CONFIG / "config.yaml", CONFIG / "demo.yaml"]


class Wildcards:
    """Of a rule about runs."""

    def __init__(self, run: str, **others: str) -> None:
        self.run = run
        vars(self).update(others)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """Runs whose steps have 24 shares, so that many numbers of devices divide them."""
    overlay = tmp_path_factory.mktemp("overlay") / "shares.yaml"
    overlay.write_text("overrides: {all: {train.global_labelled: 384}}")
    return build([*FILES, overlay])


def with_project(grid: Grid, **values: Any) -> Targets:
    """The targets of the same runs under other keys that are in no run's id."""
    project = type(grid.project).model_validate({**grid.project.model_dump(), **values})
    changed = object.__new__(Grid)
    vars(changed).update(vars(grid))
    changed.project = project
    return Targets(changed)


def asked(rule: dict[str, Any], run: str, attempt: int = 1) -> dict[str, Any]:
    """A rule's resources for one run, evaluated as Snakemake does; None is left out."""
    found = {}
    for key, value in rule.items():
        if callable(value):
            code = getattr(value, "__code__", None)
            takes = code.co_varnames[: code.co_argcount] if code else ()
            value = value(Wildcards(run), attempt) if "attempt" in takes else value(Wildcards(run))
        found[key] = value
    return {key: value for key, value in found.items() if value is not None}


# --- the site ---------------------------------------------------------------------------------------


def test_variables_win_over_the_file_and_numbers_are_names(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("partition: gpu\naccount: 4711\nmodules: [cuda/12.4]\n")
    site = Site.read(file, {"SSAR_SLURM_PARTITION": "long", "SSAR_SLURM_MODULES": "gcc/13, cuda", "HOME": "/"})
    assert (site.partition, site.account, site.modules) == ("long", "4711", ("gcc/13", "cuda"))
    assert Site.read(tmp_path / "none.yaml", {}) == Site()


def test_the_example_is_a_site(root: Path) -> None:
    assert set(Site.model_fields) == Site.read(root / "slurm" / "site.example.yaml", {}).model_fields_set


def test_mistakes_are_told_with_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("partition: gpu\nacount: me\nextra: --exclusive --mem=4G\ngpu_name: a100-80\nmodules: ['a;b']\n")
    with pytest.raises(UserError) as error:
        Site.read(file, {"SSAR_SLURM_QSO": "high"})
    told = str(error.value)
    assert f"{file}, line 2, key `acount`: unknown key; did you mean `account`?" in told
    assert "line 3, key `extra`: `--mem` follows from `resources`" in told
    assert "line 4, key `gpu_name`" in told
    assert "line 5, key `modules`" in told
    assert "environment variables SSAR_SLURM_*, key `qso`: unknown key; did you mean `qos`?" in told


@pytest.mark.parametrize(
    ("extra", "named"),
    [("-p gpu", "partition"), ("--signal=USR1@60", "every job"), ("-t 60", "resources"), ("--gpus 2", "resources")],
)
def test_options_that_are_set_elsewhere_are_refused(extra: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Site(extra=extra)
    assert Site(extra="--exclude=n-t1 --gpus-per-socket=2 --time-min=10").extra


# --- modules ----------------------------------------------------------------------------------------


def test_modules_are_loaded_in_jobs_and_hide_no_command(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho wrong\n")
    (tmp_path / "python").chmod(0o755)
    text = prefix(["cuda/12.4"]).format()
    module = f'module() {{ echo "$@" $unset_variable; PATH={tmp_path}:$PATH; }}; '
    script = f"set -euo pipefail; {module}{text}python -c 'print(1)'; echo $-"

    def said(environment: dict[str, str]) -> list[str]:
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    path = {"PATH": f"{Path(subprocess.sys.executable).parent}:/usr/bin:/bin"}  # type: ignore[attr-defined]
    inside = said({**path, "SLURM_JOB_ID": "7"})
    assert inside[:3] == ["load", "cuda/12.4", "1"]
    assert {"e", "u"} <= set(inside[3])  # the shell is as strict as before
    assert said(path)[0] == "1"
    failing = script.replace("module() {", "module() { return 1; ")
    done = subprocess.run(["bash", "-c", failing], env={**path, "SLURM_JOB_ID": "7"}, capture_output=True, check=False)
    assert done.returncode == 1
    assert not done.stdout


SAVER = """
import signal, sys, time
from pathlib import Path

received = []
for number in (signal.SIGTERM, signal.SIGURG):
    signal.signal(number, lambda number, frame: received.append(number))
Path("ready").touch()
while not received:
    time.sleep(0.01)
time.sleep(2)
Path("saved").touch()
sys.exit(128 + received[0])
"""


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGURG, False)]
)
def test_snakemake_waits_for_a_command_that_saves_after_a_signal(
    number: signal.Signals, to_all: bool, tmp_path: Path, root: Path
) -> None:
    """To all processes, or to Snakemake alone, as SLURM has it where it tracks processes by cgroups."""
    (tmp_path / "saver.py").write_text(SAVER)
    (tmp_path / "Snakefile").write_text(
        f"import sys\nsys.path.insert(0, {str(root / 'workflow')!r})\n"
        "from ssar.slurm.relay import relay\nrelay()\n"
        f"shell.prefix({prefix([])!r} + 'save() {{{{ {sys.executable} saver.py; }}}}; ')\n"
        "rule model:\n    output: 'model.pt'\n    shell: 'save {output} 2> log'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "model.pt"]
    step = os.environ | {"SLURM_STEP_ID": "0"}
    with open(tmp_path / "told", "w") as told:
        process = subprocess.Popen(command, cwd=tmp_path, env=step, stdout=told, stderr=told, start_new_session=True)
    deadline = time.monotonic() + 200
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, (tmp_path / "told").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(200) != 0
    assert (tmp_path / "saved").exists(), "Snakemake did not wait"
    assert f"exit status {128 + number}" in (tmp_path / "told").read_text()


# --- resources --------------------------------------------------------------------------------------


def test_one_device_asks_for_one_gpu_and_keeps_the_warning(grid: Grid) -> None:
    train = {"threads": 8, "mem_mb": 48000, "runtime": 2880, "gpu": 1}
    targets = with_project(grid, resources={"train": train}, devices={})
    site = Site(
        partition="gpu", cpu_partition="cpu", account="me", constraint="a100", gpu_name="a100", extra="--nice=5"
    )
    run = next(iter(grid.runs))
    requests = Requests(targets, site)
    found = asked(requests.train(), run)
    assert found == {
        "nodes": 1,
        "gpu": 1,
        "gpu_model": "a100",
        "mem_mb": 48000,
        "runtime": 2880,
        "slurm_partition": "gpu",
        "slurm_account": "me",
        "constraint": "a100",
        "slurm_extra": f"{WARNING} --nice=5",
    }
    empty = Site(partition="", account="", qos="", constraint="", gpu_name="", extra="")
    assert asked(Requests(targets, empty).train(), run) == asked(Requests(targets, Site()).train(), run)
    data = asked(requests.data(), run)
    assert data["slurm_partition"] == "cpu"
    assert not {"gpu", "gpu_model", "constraint"} & set(data)
    assert asked(requests.train(), run, 3)["mem_mb"] == 144000
    assert asked(Requests(targets, Site(max_mem_mb=64000, max_minutes=60)).train(), run, 3) == {
        "nodes": 1,
        "gpu": 1,
        "mem_mb": 64000,
        "runtime": 60,
        "slurm_extra": WARNING,
    }


def test_several_devices_and_nodes(grid: Grid) -> None:
    train = {"threads": 8, "mem_mb": 48000, "runtime": 2880, "gpu": 1}
    devices = {"supervised": {"devices": 2}, "ltg": {"devices": 4, "nodes": 2}}
    targets = with_project(grid, resources={"train": train}, devices=devices)
    requests = Requests(targets, Site(gpu_name="h100"))
    run = {method: next(r for r in grid.runs if f".{method}." in r) for method in ("supervised", "ltg", "fixmatch")}
    one = asked(requests.train(), run["supervised"])
    assert (one["gpu"], one["gpu_model"], one["nodes"], one["mem_mb"]) == (2, "h100", 1, 96000)
    assert "mpi" not in one
    assert requests.train_threads(run["supervised"]) == 16
    assert requests.threads_of_device(run["supervised"], 12) == 6  # where the machine has 12 for 16
    many = asked(requests.train(), run["ltg"])
    assert {key: many.get(key) for key in ("mpi", "nodes", "tasks", "tasks_per_gpu", "gres", "gpu", "gpu_model")} == {
        "mpi": "srun",
        "nodes": 2,
        "tasks": 8,
        "tasks_per_gpu": 0,
        "gres": "gpu:h100:4",
        "gpu": None,
        "gpu_model": None,
    }
    assert many["slurm_extra"] == f"{WARNING} --ntasks-per-node=4"
    assert requests.train_threads(run["ltg"]) == requests.threads_of_device(run["ltg"], 8) == 8
    assert asked(requests.train(), run["fixmatch"])["gpu"] == 1
    assert json.loads(targets.runtime(run["ltg"]))["nodes"] == 2


def test_time_limits_follow_the_forecast(grid: Grid) -> None:
    run, other = list(grid.runs)[:2]
    targets = with_project(grid, resources={"train": {"runtime": 2880, "gpu": 1}, "predict": {"runtime": 480}})
    requests = Requests(targets, Site())
    hour = Time(3600.0, 0.1, "probed")
    requests.limits = Limits("a device", 1, {run: hour}, {run: {"10x3": replace(hour, seconds=60.0)}})
    first = asked(requests.train(), run)["runtime"]
    assert 60 < first < 2880
    assert asked(requests.train(), run, 2)["runtime"] == 2 * first
    assert asked(requests.train(), other, 2)["runtime"] == 2880
    minutes = requests.predict()["runtime"]
    assert minutes(Wildcards(run, views="10x3"), 1) < 30
    assert minutes(Wildcards(run, views="5x1"), 1) == 480


# --- devices ----------------------------------------------------------------------------------------


def test_the_nearest_scope_wins_and_a_shared_run_gets_the_most(grid: Grid) -> None:
    owners: dict[str, list[str]] = {}
    for paper, variant, setting in grid.selected():
        for run in grid.select(paper, variant, setting):
            owners.setdefault(run.id, []).append(f"{paper}/{variant}")
    shared, names = next((run, names) for run, names in owners.items() if len(set(names)) > 1)
    first, second = sorted(set(names))[:2]
    wishes = {"all": {"devices": 2}, first: {"devices": 4}, second: {"nodes": 3}}
    targets = with_project(grid, devices=wishes)
    assert targets.runtime_of(shared).world == 6  # 2 on each of 3 nodes, over 4 on one
    alone, (name,) = next((run, set(names)) for run, names in owners.items() if len(set(names)) == 1)
    method = grid.runs[alone].config.method
    own = with_project(grid, devices={name: {"devices": 4}, method: {"devices": 3, "nodes": 2}, "all": {"devices": 8}})
    assert (own.runtime_of(alone).devices, own.runtime_of(alone).nodes) == (4, 2)
    assert with_project(grid, devices={}).runtime_of(shared) == grid.project.runtime


def test_a_training_takes_as_many_devices_as_divide_its_shares(grid: Grid) -> None:
    run = next(run for run in grid.runs.values() if run.config.train.shares == 24)
    given = {(1, 24): (1, 24), (1, 7): (1, 6), (2, 5): (2, 4), (3, 8): (3, 8), (4, 4): (3, 4), (2, 1): (2, 1)}
    for (nodes, devices), expected in given.items():
        found = fitting(Runtime(nodes=nodes, devices=devices), run.config)
        assert (found.nodes, found.devices) == expected, (nodes, devices)
    exchanging = {"train": run.config.train.model_copy(update={"batch_norm": "step", "exchange": 4})}
    assert fitting(Runtime(devices=24), run.config.model_copy(update=exchanging)).devices == 4
    alone = {"train": run.config.train.model_copy(update={"global_labelled": None})}
    assert fitting(Runtime(nodes=2, devices=8), run.config.model_copy(update=alone)).world == 1


def test_an_unknown_scope_is_a_mistake(tmp_path: Path) -> None:
    overlay = tmp_path / "typo.yaml"
    overlay.write_text("devices: {lgt: {devices: 2}}")
    with pytest.raises(UserError, match=r"key `devices.lgt`: .*did you mean `ltg`\?"):
        build([*FILES, overlay])
