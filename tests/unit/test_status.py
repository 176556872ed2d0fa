"""How far runs are: every state from the files that tell it, each run once, and a page that fits a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssar.engine.state import HEARTBEAT, SILENCE, Attempt, Failure, Progress
from ssar.errors import UserError
from ssar.grid import build
from ssar.overview import ago, overview
from ssar.project import CONFIG, ROOT
from ssar.squeue import QueuedJob, parse, trainings
from ssar.status import status, wanted
from ssar.targets import Targets

NOW = 1_800_000_000.0
TABLE = "tables/timebalance/table2.tex"


@pytest.fixture(scope="module")
def targets():
    return Targets(build([CONFIG / name for name in ("config.yaml", "demo.yaml", "papers-demo.yaml")]))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The configuration's results folder is relative: every test has its own."""
    monkeypatch.chdir(tmp_path)


def finish(targets: Targets, run_id: str) -> None:
    for name in ("model.pt", "run.json"):
        path = Path(targets.paths.run(run_id, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def progress(step: int = 40, age: float = HEARTBEAT, attempt: int = 1) -> Progress:
    return Progress(attempt, "training", step, 200, 31.25, 812.0, 20, NOW - age)


def test_a_target_needs_teachers_before_their_students_and_shared_runs_count_once(targets):
    runs = list(wanted(targets, [TABLE]).runs)
    for place, run_id in enumerate(runs):
        assert set(targets.run(run_id).config.upstream.values()) <= set(runs[:place])
    assert {targets.run(run_id).config.method for run_id in runs} >= {"timebalance_ssl", "finetune", "timebalance"}
    assert list(wanted(targets, [TABLE, TABLE]).runs) == runs
    both = wanted(targets, [TABLE, "tables/ltg/table1.tex"]).runs
    alone = wanted(targets, ["tables/ltg/table1.tex"]).runs
    assert set(both) == set(runs) | set(alone)
    assert set(wanted(targets, []).runs) >= set(both)
    student = next(run_id for run_id in runs if ".timebalance." in run_id)
    assert set(wanted(targets, [student]).runs) < set(runs)
    for wrong in ("nonsense", "tables/ltg/none.tex"):
        with pytest.raises(UserError, match=wrong):
            wanted(targets, [wrong])


def test_the_similarities_of_a_figure_need_the_networks_that_they_compare(targets):
    scored = next(run for run in targets.grid.runs.values() if "scores" in run.config.options.roles)
    first, second = Path(targets.grid.upstream(scored.config)["scores"]).parent.name.split("+")
    assert {first, second} <= set(wanted(targets, [scored.id]).runs)


# each: what lies there, and the state that follows
CASES = {
    "nothing": ((), "missing"),
    "an attempt that ended before its first step": ((Attempt(1, "t", "n1", 1, None, NOW - 3600),), "missing"),
    "an attempt that has just begun": ((Attempt(1, "t", "n1", 1, None, NOW - 5),), "running"),
    "fresh progress": ((Attempt(1, "t", "n1", 1, "7", NOW - 3600), progress()), "running"),
    "old progress": ((Attempt(1, "t", "n1", 1, None, NOW - 3600), progress(age=SILENCE)), "interrupted"),
    "a failure beside fresh progress": (
        (Attempt(1, "t", "n1", 1, None, NOW - 60), progress(), Failure(1, "boom", 41, "n1", None, NOW - 5)),
        "failed",
    ),
    "a failure of an older attempt": (
        (Attempt(2, "t", "n1", 1, None, NOW - 60), progress(attempt=2), Failure(1, "boom", 1, "n1", None, NOW - 500)),
        "running",
    ),
    "a failure before any progress": ((Failure(1, "boom", None, "n1", None, NOW - 3600),), "failed"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_state_follows_from_the_files(targets, case):
    notes, expected = CASES[case]
    run_id = next(iter(targets.grid.runs))
    folder = Path(targets.paths.state(run_id))
    for note in notes:
        note.write(folder)
    found = status(targets, [run_id], now=NOW).runs[-1]
    assert found.state == expected
    job = {run_id: QueuedJob("9", "PENDING", "Priority")}
    waiting = status(targets, [run_id], job, now=NOW).runs[-1]
    assert waiting.state == ("running" if expected == "running" else "queued")
    finish(targets, run_id)
    # results end it all, but for an attempt that still reports
    reporting = expected == "running" and any(isinstance(note, Progress) for note in notes)
    assert status(targets, [run_id], job, now=NOW).runs[-1].state == ("running" if reporting else "done")


def test_a_checkpoint_alone_is_an_interruption_and_torn_notes_are_none(targets):
    run_id = next(iter(targets.grid.runs))
    folder = Path(targets.paths.state(run_id))
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text('{"attempt": 1, "pha')
    assert status(targets, [run_id], now=NOW).runs[-1].state == "missing"
    (folder / f"checkpoint-00000120-{'a' * 16}.ckpt").touch()
    found = status(targets, [run_id], now=NOW).runs[-1]
    assert (found.state, found.signs.checkpoint) == ("interrupted", 120)


def test_a_silent_run_is_not_taken_for_one_that_waits(targets):
    run_id = next(iter(targets.grid.runs))
    folder = Path(targets.paths.state(run_id))
    Attempt(1, "t", "n1", 1, "17", NOW - 3600).write(folder)
    progress(age=600).write(folder)
    job = {run_id: QueuedJob("17", "RUNNING", "None")}
    found = status(targets, [run_id], job, now=NOW)
    assert found.runs[-1].state == "interrupted"
    assert "its job 17 as RUNNING" in overview(found)
    requeued = {run_id: QueuedJob("17", "PENDING", "BeginTime")}
    assert status(targets, [run_id], requeued, now=NOW).runs[-1].state == "queued"


def test_the_page_has_counts_first_then_what_needs_attention(targets):
    runs = list(wanted(targets, [TABLE]).runs)
    failed, running, waiting, interrupted, done = runs[:5]
    Attempt(3, "t", "n1", 1, "17", NOW - 9000).write(targets.paths.state(failed))
    reason = "CUDA out of memory at step 41 " + "and much more to say about it " * 6
    Failure(3, reason + "\nsecond line", 41, "n1", "17", NOW - 7300).write(targets.paths.state(failed))
    Attempt(2, "t", "gpu-node-0042", 1, "18", NOW - 9000).write(targets.paths.state(running))
    progress(attempt=2).write(targets.paths.state(running))
    (Path(targets.paths.state(running)) / f"checkpoint-00000020-{'b' * 16}.ckpt").touch()
    progress(step=100, age=7200).write(targets.paths.state(interrupted))
    finish(targets, done)
    queue = {waiting: QueuedJob("19", "PENDING", "Resources")}
    page = overview(status(targets, [TABLE], queue, now=NOW))
    lines = page.splitlines()
    assert lines[0] == (
        f"{len(runs)} runs: 1 done, 1 running, 1 queued, 1 failed, 1 interrupted, {len(runs) - 5} missing"
    )
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if line in ("failed", "running", "queued", "interrupted")] == [
        "failed",
        "running",
        "queued",
        "interrupted",
    ]
    assert "CUDA out of memory at step 41" in page
    assert "second line" not in page
    assert f"log: {targets.paths.log(targets.run(failed).config.options.stage, failed)}" in page
    told = next(line for line in lines if running in line)
    assert told.split() == [running, "40/200", "20", "%", "0:13:22", "31.2"]
    assert "training, gpu-node-0042, job 18, attempt 2, checkpoint at 20" in page
    assert "PENDING, Resources" in page
    assert next(line for line in lines if interrupted in line).endswith("2 h ago")
    assert done not in page
    everything = overview(status(targets, [TABLE], queue, now=NOW), every=True)
    assert all(run_id in everything for run_id in runs)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (86400, "1 day"), (2e5, "2 days")]
)
def test_times_are_told_in_their_largest_unit(seconds, text):
    assert ago(seconds) == f"{text} ago"


def test_jobs_of_slurm_are_known_by_their_comments(tmp_path, monkeypatch):
    run_id = "ucf101.videossl-20.ltg.s0.abc123"
    here = os.getcwd()
    lines = [
        f"17|PENDING|Resources|{here}|rule_train_student_wildcards_{run_id}",
        f"18|RUNNING|None|{here}|rule_predict_wildcards_{run_id}_10x3-256-logits",
        f"19|PENDING|Priority|{here}|(null)",
        f"20|PENDING|Priority|{here}|somebody's | own",
        f"21|RUNNING|None|/elsewhere|rule_train_student_wildcards_{run_id}",
        "garbage",
        "",
    ]
    assert dict(parse(lines, here)) == {run_id: QueuedJob("17", "PENDING", "Resources")}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trainings() == {}
    client = tmp_path / "squeue"
    client.write_text("#!/bin/sh\nexit 1\n")
    client.chmod(0o755)
    assert trainings() is None
    client.write_text(f"#!/bin/sh\necho '{lines[0]}'\n")
    assert trainings() == {run_id: QueuedJob("17", "PENDING", "Resources")}


def test_looking_needs_no_torch_and_no_folder(tmp_path):
    code = (
        "import sys; sys.argv = ['cli.py', 'status', 'tables/ltg/table1.tex']; import cli; cli.main();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'numpy')))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert " missing\n" in found.stdout
    assert "\x1b" not in found.stdout
