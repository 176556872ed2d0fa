"""Comparing splits: overlap against chance, balance, labels and leakage, whatever form the two are given in."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssar.data.compare import Comparison, compare
from ssar.data.compare_page import page
from ssar.data.sides import read_side
from ssar.data.split import SPLIT_COLUMNS
from ssar.errors import UserError
from ssar.project import CONFIG, load_project

CLASSES = ("Archery", "CliffDiving", "HandstandPushups", "Run")
UCF_GROUPS = r"(v_[A-Za-z]+_g\d+)_c\d+"


def ucf(name: str, group: int, clip: int) -> str:
    """As UCF-101 names its videos: of HandstandPushups they are spelled otherwise than the folder."""
    return f"{name}/v_{name.replace('stand', 'Stand')}_g{group:02d}_c{clip:02d}"


POOL = [ucf(name, group, clip) for name in CLASSES for group in range(8, 13) for clip in (1, 2)]
TESTED = [ucf(name, group, 1) for name in CLASSES for group in (1, 2)]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def rawframes(videos: list[str]) -> list[str]:
    return [f"{video} 100 {CLASSES.index(video.split('/')[0])}" for video in videos]


def svformer(videos: list[str]) -> list[str]:
    return [f"/mnt/blob/videos/{video}.avi {CLASSES.index(video.split('/')[0])}" for video in videos]


def official(videos: list[str]) -> list[str]:
    return [f"{video}.avi {CLASSES.index(video.split('/')[0]) + 1}" for video in videos]


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """A dataset in the shape of UCF-101: an unbalanced protocol that lacks a class, balanced ones, a second split."""
    unbalanced = [video for video in POOL[::3] if "CliffDiving" not in video] + [ucf("Run", 8, 1), ucf("Run", 8, 2)]
    second = [video for video in POOL + TESTED if "_g08_" not in video]
    protocols: dict[str, Any] = {
        "videossl-5": {"labelled": write(tmp_path / "5.txt", rawframes(sorted(set(unbalanced))))},
        "svformer-1": {"labelled": write(tmp_path / "1.csv", svformer(POOL[::10]))},
        "svformer-10": {"labelled": write(tmp_path / "10.csv", svformer(POOL[1::5]))},
        "all-10": {"labelled": write(tmp_path / "all.csv", svformer(POOL[::5]))},
        "official-2": {
            "labelled": write(tmp_path / "train2.txt", official(second)),
            "test": write(tmp_path / "test2.txt", [f"{video}.avi" for video in POOL if "_g08_" in video]),
        },
    }
    config = {
        "results": str(tmp_path / "results"),
        "datasets": {
            "ucf": {
                "kind": "folder",
                "root": "/data/ucf",
                "group_pattern": UCF_GROUPS,
                "train": {"path": write(tmp_path / "train.txt", rawframes(POOL))},
                "test": {"path": write(tmp_path / "test.txt", rawframes(TESTED))},
                "protocols": {
                    name: {role: {"path": path} for role, path in lists.items()} for name, lists in protocols.items()
                },
            }
        },
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def compared(overlay: Path, a: str, b: str, groups: str | None = None) -> Comparison:
    files = [CONFIG / "config.yaml", overlay]
    project = load_project(files)
    return compare(read_side(a, project, files), read_side(b, project, files), groups)


def test_protocols_are_compared_by_their_lists(overlay: Path) -> None:
    found = compared(overlay, "ucf.videossl-5", "ucf.svformer-10")
    first, second = (
        {line.split()[0] for line in (overlay.parent / name).read_text().splitlines()} for name in ("5.txt", "10.csv")
    )
    second = {path.removeprefix("/mnt/blob/videos/").removesuffix(".avi") for path in second}
    assert found.common == len(first & second) > 0
    # of 40 videos: the mean of a hypergeometric distribution
    assert found.pool == 40
    assert found.chance is not None
    assert found.chance[0] == pytest.approx(len(first) * len(second) / 40)
    unbalanced, balanced = found.balance
    assert unbalanced is not None
    assert balanced is not None
    assert (unbalanced.classes, unbalanced.least, unbalanced.most, unbalanced.without) == (3, 3, 5, ["CliffDiving"])
    assert (balanced.classes, balanced.least, balanced.most, balanced.without) == (4, 2, 2, [])
    assert found.labels.numbering == "the same"
    assert found.same_test
    assert all((leak.labelled, leak.unlabelled) == (0, 0) for leak in found.leaks)
    text = page(found)
    assert "3 to 5, median" in text
    assert "2 each" in text
    assert "none: no training video" in text
    json.dumps(found.as_dict())


def test_nesting(overlay: Path) -> None:
    for a, b, sentence in (
        ("svformer-1", "all-10", "every labelled video of A is one of B"),
        ("all-10", "svformer-1", "every labelled video of B is one of A"),
        ("all-10", "all-10", "the labelled videos are the same"),
        ("svformer-1", "svformer-10", "neither is part of the other"),
    ):
        assert sentence in page(compared(overlay, f"ucf.{a}", f"ucf.{b}"))
    assert "A or B is all of the 40 videos" in page(compared(overlay, "ucf.all", "ucf.svformer-1"))


def test_another_split_leaks_and_its_labels_count_from_1(overlay: Path) -> None:
    found = compared(overlay, "ucf.all", "ucf.official-2")
    leaks = {(leak.train, leak.test): leak for leak in found.leaks}
    assert leaks["A", "A"].labelled == leaks["B", "B"].labelled == leaks["A", "A"].groups == 0
    assert leaks["A", "B"][2:] == (8, 8, 4)
    assert leaks["B", "A"][2:] == (8, 8, 8)
    assert not found.same_test
    assert found.labels.numbering == "by +1"
    assert found.pool is None  # each is drawn from other videos
    text = page(found)
    assert (
        "8 labelled videos, 8 unlabelled videos, 4 recording groups with training videos of A in the test set of B"
        in text
    )
    assert "those of B are those of A +1" in text


def test_a_split_of_ours_against_a_list(overlay: Path, tmp_path: Path) -> None:
    path = tmp_path / "results" / "splits" / "ucf" / "percent-50.d1.csv"
    with pytest.raises(UserError, match=r"percent-50.d1 is drawn from an index, and .* make it by: snakemake -c1"):
        compared(overlay, "ucf.percent-50.d1", "ucf.all")
    with pytest.raises(UserError, match=r"is not made yet; make it by: snakemake -c1 .*percent-50.d1.csv"):
        compared(overlay, str(path), "ucf.all")
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SPLIT_COLUMNS)
        for number, video in enumerate(sorted(POOL + TESTED)):
            name, group = video.split("/")[0], video.split("/")[1][:-4]
            tested = video in TESTED
            flags = (int(not tested and number % 2), int(not tested), int(tested))
            writer.writerow((f"UCF101/{video.split('/')[1]}.avi", CLASSES.index(name), name, group, 30, *flags))
    for text in ("ucf.percent-50.d1", str(path)):
        found = compared(overlay, text, "ucf.all")
        assert page(found).count("every labelled video of A is one of B") == 1
        assert (len(found.a.labelled), len(found.a.unlabelled or ()), len(found.a.test or ())) == (20, 40, 8)
        assert found.labels.compared == 48
        assert not found.labels.other_class
    # recordings that only the split knows, against a list that names none
    same = compared(overlay, str(path), str(path))
    assert same.shared_groups == len({str(video)[:-4] for video in same.a.labelled})


def files(tmp_path: Path, a: list[str], b: list[str], groups: str | None = None) -> Comparison:
    overlay = tmp_path / "empty.yaml"
    overlay.write_text("{}")
    return compared(overlay, write(tmp_path / "a.txt", a), write(tmp_path / "b.txt", b), groups)


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        (
            ["HandstandPushups/v_HandStandPushups_g01_c01 90 1"],
            ["Handstand Pushups/v_HandstandPushups_g01_c01.avi 1"],
            1,
        ),
        (["k/x_000001_000011.mp4 0", "k/y_000001_000011.mp4 0"], ["k/y 0", "k/z 0"], 1),
        (["Run/1.avi 0", "Sit/1.avi 1"], ["Run/1.avi 0", "Sit/2.avi 1"], 1),  # names count within classes
        (["Run/a.avi 0", "Run/A.avi 0"], ["Run/A.avi 0"], 1),
    ],
    ids=["spelling", "films", "names within classes", "case that matters"],
)
def test_which_videos_are_the_same(tmp_path: Path, a: list[str], b: list[str], common: int) -> None:
    found = files(tmp_path, a, b)
    assert found.common == common
    assert found.chance is None


def test_labels_that_disagree(tmp_path: Path) -> None:
    a = ["Run/r1.avi 0", "Sit/s1.avi 1", "Jump/j1.avi 2"]
    for b, numbering in (
        (["Run/r1.avi 1", "Sit/s1.avi 2", "Jump/j1.avi 3"], "by +1"),
        (["Run/r1.avi 2", "Sit/s1.avi 1", "Jump/j1.avi 0"], "another order"),
        (["Run/r1.avi", "Sit/s1.avi", "Jump/j1.avi"], "unknown"),
        (["x/r1.avi 0", "x/s1.avi 0", "x/j1.avi 2"], "contradictory"),
    ):
        assert files(tmp_path, a, b).labels.numbering == numbering
    found = files(tmp_path, a, ["Run/r1.avi 0", "Jump/s1.avi 2", "Jump/j1.avi 2"])
    assert found.common == 3
    assert len(found.labels.other_class) == 1
    assert "Sit/s1" in found.labels.other_class[0]
    # folders that are classes, but for a video of another number
    a.append("Run/r2.avi 1")
    assert files(tmp_path, a, a).notes[0].startswith("A: Run has videos of the class numbers 0 (1) and 1 (1)")


def test_recordings_on_both_sides(tmp_path: Path) -> None:
    a, b = official(POOL[:4]), [f"{video}.avi" for video in [ucf("Archery", 8, 3), *TESTED]]
    assert files(tmp_path, a, b).shared_groups is None
    assert files(tmp_path, a, b, UCF_GROUPS).shared_groups == 1
    with pytest.raises(UserError, match="must have one group"):
        files(tmp_path, a, b, "v_.*")


def test_what_cannot_be_compared_is_told(overlay: Path, tmp_path: Path) -> None:
    for text, problem in (
        ("nothing", "neither a file nor `dataset.protocol`; the datasets are .*ucf"),
        ("ucf", "neither a file nor"),
        ("ucf.videossl-7", "ucf has no such protocol; it has all, .*videossl-5"),
        (str(tmp_path / "empty"), "neither a file nor"),
        (write(tmp_path / "page.txt", ["<html>", "come back later, please"]), "is no list of videos"),
    ):
        with pytest.raises(UserError, match=problem):
            compared(overlay, text, "ucf.all")
    with pytest.raises(UserError, match="names videos without their class"):
        files(tmp_path, ["Run/1.avi 0", "Sit/1.avi 1"], ["1.avi 0"])
    with pytest.raises(UserError, match="has several clips of one film"):
        files(tmp_path, ["k/x_000001_000011 0", "k/x_000020_000030 0"], ["k/x 0"])


def test_the_command(overlay: Path, root: Path) -> None:
    command = [sys.executable, "workflow/cli.py", "splits", "compare", "ucf.svformer-1", "ucf.svformer-10"]
    result = subprocess.run(
        [*command, "--json", "--configfile", str(overlay)], cwd=root, capture_output=True, text=True, check=True
    )
    told = json.loads(result.stdout)
    assert (told["a"]["labelled"], told["b"]["labelled"], told["common"], told["a_in_b"]) == (4, 8, 0, False)


def test_the_published_percentages_of_ucf101(real_videos: Path, tmp_path: Path) -> None:
    lists = real_videos / "lists"
    local = {
        "train": "videossl/ucf101/ucf101_train_split_1_rawframes.txt",
        "test": "videossl/ucf101/ucf101_val_split_1_rawframes.txt",
    }
    splits = lists / "videossl" / "ucf101" / "videossl_splits"
    config = {role: {"path": str(lists / path)} for role, path in local.items()} | {
        "protocols": {
            "videossl-10": {
                "labelled": {"path": str(splits / "ucf101_train_10_percent_labeled_split_1_rawframes.txt")}
            },
            "svformer-10": {"labelled": {"path": str(lists / "svformer" / "list_ucf_10" / "train.csv")}},
        }
    }
    overlay = tmp_path / "real.yaml"
    overlay.write_text(yaml.safe_dump({"datasets": {"ucf101": config}}))
    found = compared(overlay, "ucf101.videossl-10", "ucf101.svformer-10")
    assert (found.common, found.pool) == (94, 9537)
    assert found.chance == pytest.approx((100.93, 9.01), abs=0.01)
    assert found.shared_groups == 337
    assert not any(leak.labelled or leak.unlabelled or leak.groups for leak in found.leaks)
