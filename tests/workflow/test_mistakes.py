"""What a user is told: no traceback, what is wrong, where, what to do."""

from __future__ import annotations

from tests.videos import make_folder
from tests.workflow.conftest import SETTING, Workspace, with_values


def logs(workspace: Workspace, name: str) -> str:
    return (workspace.folder / "out" / "logs" / name).read_text()


def test_a_typo_in_the_configuration(workspace: Workspace):
    workspace.configure(with_values(overrides__ltg={"options.tempreature": 0.1}))
    done = workspace.snakemake("--dry-run", "out/ablations/ltg/ltg.json")
    assert done.returncode == 1
    assert "did you mean `temperature`?" in done.stdout
    assert str(workspace.config) in done.stdout
    assert "Traceback" not in done.stdout


def test_a_wrong_name_among_the_targets(workspace: Workspace):
    workspace.configure(with_values(targets=["tables/table1.tex", "tables/table99.tex"]))
    done = workspace.snakemake("--dry-run", "out/ablations/ltg/ltg.json")
    assert done.returncode == 1
    assert "target `tables/table99.tex`" in done.stdout
    assert "Traceback" not in done.stdout


def folder_config(root: str) -> dict:
    return with_values(
        settings={SETTING: {"dataset": "mine", "labels": "per-class-1"}},
        datasets={"mine": {"kind": "folder", "root": root, "test_percent": 30}},
    )


def test_a_missing_folder(workspace: Workspace):
    workspace.configure(folder_config("/nowhere/videos"))
    done = workspace.snakemake("out/data/mine/index.csv")
    assert done.returncode == 1
    assert "/nowhere/videos" in logs(workspace, "index/mine.log")
    assert "Traceback" not in logs(workspace, "index/mine.log")


def test_a_broken_video_is_listed_and_left_out(workspace: Workspace):
    root = workspace.folder / "videos"
    make_folder(root, classes=["clap", "wave"], per_class=4)
    broken = sorted((root / "clap").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    workspace.configure(folder_config(str(root)))
    workspace.run("out/splits/mine/per-class-1.d0.csv")
    assert broken.name in (workspace.folder / "out/data/mine/report.md").read_text()
    assert broken.name not in (workspace.folder / "out/splits/mine/per-class-1.d0.csv").read_text()


def test_an_unknown_target_names_the_known_ones(workspace: Workspace):
    done = workspace.snakemake("--dry-run", "out/ablations/ltg/no-such-thing.json")
    assert done.returncode == 1
    assert "unknown variant `no-such-thing`" in done.stdout
