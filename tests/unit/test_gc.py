"""Cleaning up: exactly what nothing asks for goes, and nothing of anybody else's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from ssar.asked import Asked, neighbours, sharing
from ssar.engine.state import Attempt, Progress
from ssar.errors import UserError
from ssar.gc import amount, collect, remove
from ssar.leftovers import Found, find
from ssar.paths import Paths
from ssar.project import CONFIG

DEMO = CONFIG / "demo.yaml"
VIEWS = "3x1-logits"
STALE = "synthact.percent-10.ltg.s0.000000"
OTHER = "synthact.percent-10.fixmatch.s1.ffffff"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The configuration's results folder is relative: every test has its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def grids():
    return sharing([DEMO], [])


def make(*names: str, old: bool = True) -> set[Path]:
    """Files of one byte below results/demo, two days old; the paths."""
    made = {Path("results/demo", name) for name in names}
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        if old:
            os.utime(path, (time.time() - 2 * 86400,) * 2)
    return made


def look(grids) -> Found:
    return find(Paths("results/demo"), Asked.by(grids), time.time())


def files() -> set[Path]:
    return {path for path in Path("results").rglob("*") if path.is_file()}


def test_what_nothing_asks_for_goes_and_the_rest_stays(grids):
    run = next(run for run in grids[0].runs.values() if run.config.method == "ltg")
    stay = make(
        *(f"runs/{run.id}/{name}" for name in ("model.pt", "run.json", "curves.csv", f"{VIEWS}/metrics.json")),
        f"state/{run.id}/attempt.json",
        f"state/{run.id}/tensorboard/events.out",
        f"logs/train_student/{run.id}.log",
        f"logs/predict/{run.id}.{VIEWS}.log",
        f"logs/index/{STALE}.log",
        f"benchmarks/train_student/{run.id}.tsv",
        "splits/synthact/percent-10.d0.csv",
        "splits/synthact/notes.csv",
        "data/synthact/index.csv",
        "data/synthact/videos/.hidden-abcd1234.mp4",
        "data/synthact/index/1-of-2.jsonl",
        "data/elsewhere/videos/a.mp4",
        "data/synthact/tg-mine/store.json",
        "ablations/ltg/ltg.json",
        "tables/ltg/gone.tex",
        "runs/my notes/model.pt",
        "runs/README",
        f"runs/{run.id}/my-analysis/plot.png",
        f"runs/{OTHER}/model.pt",
        f"runs/{OTHER}/notes.txt",
        "nested/runs/" + STALE + "/model.pt",
    )
    stay |= make(f"runs/{run.id}/.model-abcd1234.pt", old=False)
    go = make(
        f"runs/{STALE}/model.pt",
        f"runs/{STALE}/{VIEWS}/predictions.npz",
        f"runs/{STALE}/.model-zzzz9999.pt",
        f"runs/{run.id}/10x3-256-probs/metrics.json",
        f"runs/{run.id}/{VIEWS}+static/metrics.json",
        f"state/{run.id}/checkpoint-00000200-{'a' * 16}.ckpt",
        f"state/{OTHER}/attempt.json",
        f"logs/train_student/{STALE}.log",
        f"logs/predict/{run.id}.10x3-256-probs.log",
        f"benchmarks/train_student/{STALE}.tsv",
        "splits/synthact/percent-50.d0.csv",
        f"scores/{STALE}+{OTHER}/similarity.npz",
        "data/synthact/tg-n9-forward/store.json",
        "data/synthact/tg-n9-forward/videos/a.tg",
        "ablations/ltg/renamed.json",
        f"runs/{run.id}/.run-abcd1234.json",
        "data/synthact/index/.1-of-2-abcd1234.json",
        "tables/ltg/.table1-0_z9yxwv.tex",
        ".cost-abcdefgh.md",
    )
    assert not any(path.name == f"{VIEWS}+static" for path in Asked.by(grids).evaluations)
    os.utime("results/demo/data/synthact/tg-n9-forward", (0, 0))
    os.utime("results/demo/data/synthact/tg-n9-forward/videos", (0, 0))
    found = look(grids)
    assert sum(item.size for item in found.items) == len(go)
    assert (found.finished, found.lost) == (1, 1)
    assert [line for line in found.kept if OTHER in line and "notes.txt" in line]
    assert files() == stay | go
    assert list(remove(found.items)) == []
    assert files() == stay
    assert look(grids).items == []


def test_a_run_at_work_stays_with_all_that_it_may_read(grids):
    stay = make(f"runs/{STALE}/curves.csv", "splits/synthact/percent-50.d0.csv", f"logs/train_student/{STALE}.log")
    state = Path("results/demo/state", STALE)
    Progress(1, "training", 1, 2).write(state)
    found = look(grids)
    assert found.items == []
    assert STALE in found.kept[0]
    Progress(1, "training", 1, 2, updated=time.time() - 3600).write(state)
    found = look(grids)
    assert {item.path for item in found.items} == {*stay, Path("results/demo/runs", STALE), state} - {
        Path("results/demo/runs", STALE, "curves.csv")
    }
    Attempt(2, "token").write(state)  # it starts between the listing and the deletion
    left = list(remove(found.items))
    assert len(left) == 2
    assert all("just started" in line for line in left)
    assert state.is_dir()


def test_nothing_goes_while_signs_of_life_cannot_be_read(grids):
    stay = make(f"runs/{STALE}/curves.csv")
    found = look(grids)
    assert len(found.items) == 1
    # reading a folder is an OSError
    Path("results/demo/state", STALE, Progress.FILE).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        look(grids)
    assert len(list(remove(found.items))) == 1
    assert files() == stay


def test_checkpoints_of_a_finished_run_that_still_reports_stay(grids):
    run_id = next(iter(grids[0].runs))
    make(f"runs/{run_id}/model.pt", f"runs/{run_id}/run.json", f"state/{run_id}/checkpoint-00000200-{'a' * 16}.ckpt")
    Progress(1, "writing", 200, 200).write(Path("results/demo/state", run_id))
    assert look(grids).items == []


def test_links_are_left_alone(grids, tmp_path):
    outside = tmp_path / "archive"
    outside.mkdir()
    (outside / "model.pt").touch()
    Path("results/demo/runs").mkdir(parents=True)
    Path("results/demo/runs", STALE).symlink_to(outside)
    make(f"runs/{OTHER}/run.json")
    Path("results/demo/runs", OTHER, "model.pt").symlink_to(outside / "model.pt")
    assert look(grids).items == []


def overlay(name: str, **values: object) -> Path:
    path = Path(name)
    path.write_text(yaml.safe_dump(values))
    return path


def test_configurations_of_one_folder_keep_each_others_runs(capsys):
    faster = overlay("faster.yaml", overrides={"ltg": {"optim.lr": 0.3}})
    longer = overlay("longer.yaml", seeds=[7])
    demo = set(sharing([DEMO], [])[0].runs)
    # an overlay without a folder of its own does not disown the runs of the configuration below it
    grids = sharing([DEMO, faster], [])
    assert set(grids[0].runs) - demo
    assert Asked.by(grids).runs == demo | set(grids[0].runs)
    asked = Asked.by(sharing([DEMO, faster], [[DEMO, longer]])).runs
    assert asked > Asked.by(grids).runs
    with pytest.raises(UserError, match="asks for nothing there"):
        sharing([DEMO], [[longer]])  # without demo.yaml its folder is another one

    name = next(run for run in sharing([DEMO, longer], [])[0].runs if run not in demo)
    make(f"runs/{name}/model.pt", f"runs/{name}/run.json")
    with pytest.raises(UserError, match="asks for 0"):
        collect([str(DEMO)], [], delete=True, force=False)
    collect([str(DEMO)], [[str(DEMO), str(longer)]], delete=True, force=False)
    assert Path("results/demo/runs", name).is_dir()
    collect([str(DEMO)], [], delete=False, force=False)
    assert f"results/demo/runs/{name}" in capsys.readouterr().out
    collect([str(DEMO)], [], delete=True, force=True)
    assert not Path("results/demo/runs", name).exists()


def test_overlays_that_may_share_the_folder_are_told():
    Path("configs").mkdir()
    mine = overlay("configs/mine.yaml", results="out", seeds=[1])
    beside = overlay("configs/beside.yaml", results="./out", views="2x1")
    here = overlay("here.yaml", results="out", seeds=[3])
    overlay("elsewhere.yaml", results="other", seeds=[2])
    overlay("quick.yaml", resources={"train": {"threads": 2}})
    overlay("foreign.yaml", papers=["a"], services={})
    Path("broken.yaml").write_text("a: [")
    found = list(neighbours(sharing([mine], [])[0].project, [mine]))
    assert [path.name for path in found] == [beside.name, here.name]
    assert not list(neighbours(sharing([DEMO], [])[0].project, [DEMO]))


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**40, "3.0 TiB")])
def test_amounts(count, text):
    assert amount(count) == text
