"""A dataset with `transcode`, from a user's folder to its index and a split."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.videos import make_folder
from tests.workflow.conftest import Workspace, with_values


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_a_folder_with_lists_is_transcoded_in_parts_and_indexed(tmp_path: Path):
    root = tmp_path / "videos"
    paths = make_folder(root, ["jump", "run"], 4, frames=8, suffix=".avi")
    (root / paths[1]).write_bytes(b"noise" * 99)
    lists = {"train": paths[0:3] + paths[4:7], "test": [paths[3], paths[7]]}
    for name, entries in lists.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{path} {int(path.startswith('run'))}\n" for path in entries))
    mine = {
        "kind": "folder",
        "root": str(root),
        "transcode": {"short_side": 32, "keyframe_interval": 4},
        "transcode_jobs": 2,
        "allow_missing": 1,
        **{name: {"path": str(tmp_path / f"{name}.txt")} for name in lists},
    }
    space = Workspace(tmp_path)
    setting = {"dataset": "mine", "labels": "per-class-1"}
    values = with_values(datasets={"mine": mine}, settings={"ucf101.videossl-20": setting})
    space.configure(values)
    split = "out/splits/mine/per-class-1.d0.csv"
    assert space.planned(split) == {"transcode_part": 2, "transcode": 1, "index": 1, "split": 1}
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    space.run(split)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    data = tmp_path / "out" / "data" / "mine"
    index = rows(data / "index.csv")
    assert [row["path"] for row in index] == [path for path in paths if path != paths[1]]
    assert {(row["frames"], row["height"], row["width"]) for row in index} == {("8", "32", "42")}
    (excluded,) = rows(data / "index-excluded.csv")
    assert excluded["path"] == paths[1]
    assert excluded["reason"].startswith("its source could not be transcoded: not a readable video")
    assert excluded["reason"] in (data / "report.md").read_text()
    completeness = json.loads((data / "completeness.json").read_text())
    assert (completeness["missing"], completeness["unusable"]) == (0, 1)
    assert sum(row["test"] == "1" for row in rows(tmp_path / split)) == 2

    assert "Nothing to be done" in space.run("--dry-run", split)
    values["datasets"]["mine"]["transcode"]["crf"] = 30
    space.configure(values)
    assert space.planned(split) == {"transcode_part": 2, "transcode": 1, "index": 1, "split": 1}
