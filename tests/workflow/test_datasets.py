"""Datasets under Snakemake: an index in parts, and trainings that do not start on an incomplete one."""

from __future__ import annotations

from pathlib import Path

from tests.videos import make_folder
from tests.workflow.conftest import SETTING, Workspace, with_values

SPLIT = "out/splits/mine/all.d0.csv"


def write_lists(folder: Path, gone: str) -> dict[str, dict[str, str]]:
    lines = {"train": ["clap/clap_00", "clap/clap_01", "wave/wave_00", f"wave/{gone}"], "test": ["clap/clap_02"]}
    for name, entries in lines.items():
        (folder / f"{name}.txt").write_text("".join(f"{entry}.avi\n" for entry in entries))
    return {name: {"path": str(folder / f"{name}.txt")} for name in lines}


def test_an_incomplete_dataset_is_indexed_in_parts_and_not_trained_on(workspace: Workspace):
    make_folder(workspace.folder / "videos", classes=["clap", "wave"], per_class=3)
    lists = write_lists(workspace.folder, gone="gone")
    mine = {"kind": "folder", "root": str(workspace.folder / "videos"), "index_jobs": 2, **lists}
    values = {"settings": {SETTING: {"dataset": "mine", "labels": "all"}}, "datasets": {"mine": mine}}
    workspace.configure(with_values(**values))
    assert workspace.planned(SPLIT) == {"index_part": 2, "index": 1, "split": 1}
    done = workspace.snakemake(SPLIT)
    assert done.returncode == 1
    # the index ends well and reports; the split refuses and says what to write
    assert "1 missing, 0 unusable" in (workspace.folder / "out/data/mine/report.md").read_text()
    told = (workspace.folder / "out/logs/split/mine.all.d0.log").read_text()
    assert "datasets: {mine: {allow_missing: 1}}" in told
    assert "Traceback" not in told
    # which makes nothing anew
    workspace.configure(with_values(**values, datasets__mine__allow_missing=1))
    assert workspace.planned(SPLIT) == {"split": 1}
    workspace.run(SPLIT)
    # nor does a larger number; a smaller one is refused again
    workspace.configure(with_values(**values, datasets__mine__allow_missing=9))
    assert workspace.planned(SPLIT) == {}
    workspace.configure(with_values(**values, datasets__mine__allow_missing=0))
    assert workspace.planned(SPLIT) == {"split": 1}
