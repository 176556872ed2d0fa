"""Videos that are there already: any usual layout, links, one line of configuration; only read, nothing fetched."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.videos import make_folder

from ssar.config import DatasetConfig, LabelsConfig, ListFile, ListSplit
from ssar.cost.sizes import download_bytes
from ssar.data.index import build_index
from ssar.data.layout import lay_out
from ssar.data.protocols import make_split
from ssar.data.walk import find_videos
from ssar.errors import UserError
from ssar.grid import build
from ssar.project import CONFIG
from ssar.targets import Targets

TRAIN = {"HandstandPushups/v_HandStandPushups_g01_c01": 0, "YoYo/v_YoYo_g01_c01": 1, "YoYo/v_YoYo_g02_c01": 1}
TEST = {"HandstandPushups/v_HandStandPushups_g02_c01": 0, "YoYo/v_YoYo_g03_c01": 1}
WHOLE = TRAIN | TEST


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The listed videos, all different."""
    folder = tmp_path_factory.mktemp("made")
    paths = make_folder(folder, 1, len(WHOLE), frames=4)
    return {line: folder / path for line, path in zip(WHOLE, paths, strict=True)}


def split_of(line: str) -> str:
    return "train" if line in TRAIN else "val"


def other_spelling(line: str) -> str:
    return line.replace("HandstandPushups/", "HandStandPushups/")


LAYOUTS: dict[str, Callable[[str], str]] = {
    "class folders": lambda line: line,
    "class folders as the videos spell them": other_spelling,
    "below videos/": lambda line: f"videos/{line}",
    "below UCF-101/": lambda line: f"UCF-101/{line}",
    "train/ and val/": lambda line: f"{split_of(line)}/{line}",
    "flat": lambda line: line.rpartition("/")[2],
    "flat below a folder": lambda line: f"videos/{line.rpartition('/')[2]}",
    "parts": lambda line: f"{split_of(line)}/part_{WHOLE[line]}/{line.rpartition('/')[2]}",
}


def lists(folder: Path, spelled: Callable[[str], str] = lambda line: f"{line}.avi") -> dict[str, ListFile]:
    files = {}
    for split, entries in (("train", TRAIN), ("test", TEST)):
        path = folder / f"{split}.txt"
        path.write_text("".join(f"{spelled(line)} {label}\n" for line, label in entries.items()))
        files[split] = ListFile(path=str(path))
    return files


def put(videos: dict[str, Path], root: Path, layout: Callable[[str], str]) -> Path:
    for line, video in videos.items():
        target = root / f"{layout(line)}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, target)
    return root


def found(config: DatasetConfig, root: Path) -> set[tuple[str, str, str, int]]:
    """Name, class, split and label of what is laid out."""
    layout = lay_out(config, root)
    assert all(video.found for video in layout.listed or ())
    return {(Path(v.path).stem, v.name, v.split, layout.order[v.name]) for v in layout.candidates}


EXPECTED = {
    (line.rpartition("/")[2], line.partition("/")[0], "train" if line in TRAIN else "test", label)
    for line, label in WHOLE.items()
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_usual_layout_is_the_same_dataset(
    tmp_path: Path, videos: dict[str, Path], layout: Callable[[str], str]
) -> None:
    config = DatasetConfig(kind="download", root="unused", **lists(tmp_path))
    assert found(config, put(videos, tmp_path / "root", layout)) == EXPECTED


def test_lists_without_folders_take_the_classes_from_the_folders_or_their_labels(
    tmp_path: Path, videos: dict[str, Path]
) -> None:
    config = DatasetConfig(kind="download", root="x", **lists(tmp_path, lambda line: line.rpartition("/")[2] + ".avi"))
    assert found(config, put(videos, tmp_path / "folders", LAYOUTS["class folders"])) == EXPECTED
    flat = put(videos, tmp_path / "flat", LAYOUTS["flat"])
    assert found(config, flat) == {(name, str(label), split, label) for name, _, split, label in EXPECTED}


def test_nothing_tells_the_classes_of_a_flat_folder_without_lists(tmp_path: Path, videos: dict[str, Path]) -> None:
    root = put(videos, tmp_path / "root", LAYOUTS["flat"])
    with pytest.raises(UserError, match=r"(?s)must lie in <class>/<video>.*v_YoYo_g01_c01\.mp4"):
        lay_out(DatasetConfig(kind="download", root="x"), root)
    nested = put(videos, tmp_path / "nested", LAYOUTS["below UCF-101/"])
    assert {video.name for video in lay_out(DatasetConfig(kind="download", root="x"), nested).candidates} == {
        "HandstandPushups",
        "YoYo",
    }


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "looked for .avi, .mp4, .mov, .mkv, .webm; there is no file"),
        (("HandstandPushups/v_HandStandPushups_g01_c01/img_00001.jpg",), r"img_00001\.jpg\. Frames .* are not read"),
        (("YoYo.rar", "readme.txt"), r"e\.g\. YoYo\.rar, readme\.txt\. Unpack them first"),
        (("run/a.mp4", "run/b.mp4"), r"2 videos, e\.g\. run/a\.mp4, and none .* the 5 .* e\.g\. Handst"),
    ],
)
def test_a_folder_without_a_listed_video_is_described(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    (tmp_path / "root").mkdir()
    for name in names:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(UserError, match=words):
        lay_out(DatasetConfig(kind="folder", root="x", **lists(tmp_path)), tmp_path / "root")


def test_videos_that_were_deleted_after_unpacking_are_told(tmp_path: Path) -> None:
    """By a scratch disk that is cleaned up, for instance."""
    files = [{"name": "a.zip", "urls": ["http://x/a.zip"]}]
    (tmp_path / "unpacked.json").touch()
    with pytest.raises(UserError, match=r"videos is gone: delete .*unpacked\.json"):
        lay_out(DatasetConfig(kind="download", files=files), tmp_path / "videos")  # type: ignore[arg-type]


def test_the_folder_is_only_read(tmp_path: Path, videos: dict[str, Path]) -> None:
    root = put(videos, tmp_path / "root", LAYOUTS["train/ and val/"])
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    before = {path: path.stat().st_mtime_ns for path in (*folders, *root.rglob("*.mp4"))}
    for path in folders:
        path.chmod(0o555)
    config = DatasetConfig(kind="download", root=str(root), **lists(tmp_path))
    build_index(config, root, tmp_path / "out" / "index.csv", tmp_path / "out" / "report.md", jobs=2)
    assert {path: path.stat().st_mtime_ns for path in (*folders, *root.rglob("*.mp4"))} == before
    with (tmp_path / "out" / "index.csv").open() as file:
        assert all(row["path"].startswith(("train/", "val/")) for row in csv.DictReader(file))
    for path in folders:
        path.chmod(0o755)


# --- finding files --------------------------------------------------------------------------------


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    for path in (elsewhere / "run" / "a.mp4", root / "jump" / "b.MP4", root / "jump" / ".hidden.mp4"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder in (".snapshot", "lost+found"):
        (root / folder / "run").mkdir(parents=True)
        (root / folder / "run" / "old.mp4").touch()
    (root / "run").symlink_to(elsewhere / "run")
    (root / "jump" / "link.mp4").symlink_to(elsewhere / "run" / "a.mp4")
    (root / "jump" / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    (root / "jump" / "notes").symlink_to(tmp_path / "nothing")
    (root / "jump" / "up").symlink_to(root)
    (elsewhere / "run" / "here").symlink_to(elsewhere / "run")
    assert find_videos(root, (".mp4",)) == ["jump/b.MP4", "jump/gone.mp4", "jump/link.mp4", "run/a.mp4"]


def test_what_cannot_be_read_is_told_and_not_skipped(tmp_path: Path) -> None:
    make_folder(tmp_path / "root", ["run"], 2)
    (tmp_path / "root" / "run" / "link.mp4").symlink_to(tmp_path / "nothing.mp4")
    config = DatasetConfig(kind="folder", root="unused")
    out = tmp_path / "out"
    build_index(config, tmp_path / "root", out / "index.csv", out / "report.md", jobs=1)
    assert "cannot be read: No such file or directory\n  - `run/link.mp4`" in (out / "report.md").read_text()
    # it is looked at again each time: a file server may have been to blame
    shutil.copy(tmp_path / "root" / "run" / "run_00.mp4", tmp_path / "nothing.mp4")
    build_index(config, tmp_path / "root", out / "index.csv", out / "report.md", jobs=1)
    assert "duplicate of run/link.mp4" in (out / "report.md").read_text()
    os.rename(tmp_path / "root" / "run" / "link.mp4", os.fsencode(tmp_path / "root" / "run") + b"/\xff.mp4")
    with pytest.raises(UserError, match="not UTF-8"):
        find_videos(tmp_path / "root", config.extensions)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "root" / "run").mkdir(parents=True)
    (tmp_path / "root" / "run").chmod(0)
    with pytest.raises(UserError, match=r"root/run cannot be read: Permission denied"):
        find_videos(tmp_path / "root", (".mp4",))


# --- one line of configuration --------------------------------------------------------------------


SETTINGS = (("ucf101", 20), ("hmdb51", 50), ("kinetics400", 1))


def targets(tmp_path: Path, datasets: dict) -> Targets:
    overlay = tmp_path / "mine.yaml"
    settings = {
        f"{name}.videossl-{share}": {"dataset": name, "labels": f"videossl-{share}"} for name, share in SETTINGS
    }
    few = {"papers": ["ltg"], "seeds": [0], "settings": settings}  # a small grid is planned in less time
    overlay.write_text(yaml.safe_dump(few | {"datasets": datasets}))
    return Targets(build([CONFIG / "config.yaml", overlay]))


def test_one_line_of_configuration_points_at_the_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    found = targets(tmp_path, {"ucf101": {"root": "${SCRATCH}/UCF-101"}})
    assert found.video_root("ucf101") == "/scratch/me/UCF-101"
    made = [path for path in found.generated("ucf101") if "unpacked" in path or "downloads" in path]
    assert made == []
    assert found.dataset("ucf101").classes == 101  # the rest is as shipped
    assert download_bytes("ucf101", found.dataset("ucf101")) == 0
    # the others are fetched as before
    assert "results/data/hmdb51/unpacked.json" in found.generated("hmdb51")
    assert found.video_root("hmdb51") == "results/data/hmdb51/videos"


def test_a_misspelt_dataset_is_no_reason_to_download_another(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`datasets\.ucf-101`: no such dataset, .* did you mean `ucf101`\?"):
        targets(tmp_path, {"ucf-101": {"root": "/data/UCF-101"}})


def test_what_an_index_does_not_depend_on_does_not_make_it_anew(tmp_path: Path) -> None:
    before = targets(tmp_path, {}).index_options("ucf101")
    assert targets(tmp_path, {"ucf101": {"allow_missing": 3, "test_percent": 10}}).index_options("ucf101") == before
    for change in ({"fast": True}, {"root": "/data/ucf"}, {"extensions": [".mp4"]}):
        assert targets(tmp_path, {"ucf101": change}).index_options("ucf101") != before


def test_the_index_of_a_large_dataset_is_shared_among_jobs(tmp_path: Path) -> None:
    found = targets(tmp_path, {"ucf101": {"index_jobs": 2}})
    assert found.index_parts("ucf101") == [f"results/data/ucf101/index/{part}-of-2.json" for part in (1, 2)]
    assert found.index_parts("hmdb51") == []
    assert len(found.index_parts("kinetics400")) > 1


# --- real videos ----------------------------------------------------------------------------------


def shortened(source: Path, out: Path) -> ListFile:
    """The videos of a published list that are recordings 8 to 10 of UCF-101's 25, or 1 to 2 of its test set."""
    kept = [line for line in source.read_text().splitlines() if re.search(r"_g(01|02|08|09|10)_", line)]
    out.write_text("\n".join(kept))
    return ListFile(path=str(out))


def test_class_folders_and_a_flat_folder_give_the_same_split(real_videos: Path, tmp_path: Path) -> None:
    source = real_videos / "ucf101-8"
    files = {
        role: shortened(source / "lists" / f"{name}.txt", tmp_path / f"{role}.txt")
        for role, name in {
            "train": "trainlist01",
            "test": "testlist01",
            "labelled": "videossl_20pct_labeled_split1",
        }.items()
    }
    published = {"p": ListSplit(labelled=files.pop("labelled"))}
    config = DatasetConfig(kind="download", root="x", fast=True, classes=8, protocols=published, **files)
    flat = tmp_path / "flat" / "videos"
    flat.mkdir(parents=True)
    for path in source.glob("*/*.avi"):
        (flat / path.name).symlink_to(path)
    splits = []
    for name, root in (("a", source), ("b", flat.parent)):
        out = tmp_path / name
        build_index(config, root, out / "index.csv", out / "report.md", jobs=2)
        assert "**Complete**: all 209 listed videos can be used." in (out / "report.md").read_text()
        make_split(out / "index.csv", config, LabelsConfig(protocol="p"), out / "split.csv")
        with (out / "split.csv").open() as file:
            rows = [row | {"path": Path(row["path"]).name} for row in csv.DictReader(file)]
        splits.append(sorted(rows, key=lambda row: row["path"]))
    assert splits[0] == splits[1]
    assert [sum(row[flag] == "1" for row in splits[0]) for flag in ("labelled", "unlabelled", "test")] == [34, 127, 82]
