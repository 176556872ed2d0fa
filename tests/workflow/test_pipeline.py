"""From nothing to tables, called again, edited, interrupted and continued."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.workflow.conftest import TINY, Workspace, with_values

VARIANTS = ("fixmatch-rgb", "ltg")
ABLATIONS = tuple(f"out/ablations/ltg/{variant}.json" for variant in VARIANTS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the ablations have been made."""
    space = Workspace(tmp_path_factory.mktemp("finished"))
    space.configure(TINY)
    space.run(*ABLATIONS)
    return space


def test_end_to_end(finished: Workspace):
    for target in ABLATIONS:
        summary = json.loads((finished.folder / target).read_text())
        assert len(summary["seeds"]) == 1
    metrics = [json.loads(file.read_text()) for file in finished.folder.glob("out/runs/*/2x1-16-logits/metrics.json")]
    assert {entry["n"] for entry in metrics} == {4}
    assert all(0 <= entry["top1"] <= 100 for entry in metrics)
    assert not list(finished.folder.glob("out/state/*/checkpoint-*.ckpt"))  # nothing to resume


def test_a_second_call_does_nothing(finished: Workspace):
    assert "Nothing to be done" in finished.run(*ABLATIONS)


def test_tables_and_figures_of_the_trained_runs(finished: Workspace):
    targets = ["out/tables/table2.tex", "out/figures/ltg/figure3.pdf", "out/figures/ltg/figure5.pdf"]
    finished.run(*targets)
    for target in targets:
        assert (finished.folder / target).stat().st_size > 500
    assert "A test." in (finished.folder / "out/tables/table2.md").read_text()


def test_one_edited_hyperparameter_reruns_exactly_its_jobs(finished: Workspace):
    try:
        finished.configure(with_values(overrides__ltg={"options.projection": [8, 8, 8], "options.temperature": 0.7}))
        assert finished.planned(*ABLATIONS) == {"train_student": 1, "predict": 1, "metrics": 1, "ablation": 1}
        finished.configure(with_values(note="Retitled.", runtime__workers=1))
        assert "Nothing to be done" in finished.run("--dry-run", *ABLATIONS)
    finally:
        finished.configure(TINY)


def weights(workspace: Workspace) -> dict:
    import torch

    (model,) = workspace.folder.glob("out/runs/*.ltg.*/model.pt")
    return torch.load(model, weights_only=True)["method"]


def killed(space: Workspace) -> bool:
    """Start a training and kill everything after its first checkpoint; false if it was faster."""
    process = subprocess.Popen(
        space.command(ABLATIONS[1]),
        env=space.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(space.folder.glob("out/state/*/checkpoint-*.ckpt")) and process.poll() is None:
        time.sleep(0.01)
    controller = psutil.Process(process.pid)
    for victim in (controller, *controller.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # killing one ends others
            victim.kill()
    return process.wait() == -signal.SIGKILL and not list(space.folder.glob("out/runs/*/model.pt"))


def test_a_killed_run_continues_to_the_same_weights(tmp_path: Path, finished: Workspace):
    import torch

    for number in range(3):
        space = Workspace(tmp_path / str(number))
        space.folder.mkdir()
        space.configure(TINY)
        if killed(space):
            break
    else:
        pytest.fail("each training ended before it could be killed")
    space.run("--unlock")
    space.run("--rerun-incomplete", ABLATIONS[1])
    continued, straight = weights(space), weights(finished)
    assert continued.keys() == straight.keys()
    assert all(torch.equal(continued[key], straight[key]) for key in straight)
