"""The index: decodes every video to its end, leaves out and names what is unusable, goes on where it stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.videos import OPTIONS, make_folder, moving_frames, write_video

from ssar.config import DatasetConfig, ListFile, ListSplit
from ssar.data.index import COLUMNS, build_index, index_part
from ssar.data.layout import lay_out
from ssar.data.pool import Lost, on_videos
from ssar.data.probe import probe
from ssar.data.probing import State, look
from ssar.data.protocols import make_split
from ssar.errors import UserError


def dataset(**options: object) -> DatasetConfig:
    return DatasetConfig(**({"kind": "folder", "root": "unused"} | options))  # type: ignore[arg-type]


def index(config: DatasetConfig, root: Path, jobs: int = 1) -> tuple[dict[str, dict[str, str]], dict[str, str], str]:
    """Rows by path, reasons of exclusion by path, and the report."""
    out = root.parent / "out"
    build_index(config, root, out / "index.csv", out / "report.md", jobs)
    with (out / "index.csv").open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    with (out / "index-excluded.csv").open() as file:
        excluded = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    return rows, excluded, (out / "report.md").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three good videos and one of each kind of bad ones."""
    root = tmp_path / "videos"
    make_folder(root, ["jump", "run"], 3)
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("no video here")
    (root / "jump" / "empty.mp4").touch()
    (root / "jump" / "noise.mp4").write_bytes(b"noise" * 99)
    write_video(root / "run" / "short.mp4", moving_frames(1))
    shutil.copy(root / "run" / "run_01.mp4", root / "run" / "z_copy.mp4")
    shutil.copy(write_video(root / "jump" / "both.mp4", moving_frames(5, seed=9)), root / "run" / "both.mp4")
    return root


def test_usable_videos_are_indexed_and_others_named(root: Path) -> None:
    rows, excluded, report = index(dataset(), root, jobs=2)
    assert list(rows) == sorted(
        make_path for make_path in (f"{c}/{c}_0{i}.mp4" for c in ("jump", "run") for i in range(3))
    )
    row = rows["run/run_02.mp4"]
    assert tuple(row) == COLUMNS
    assert {k: row[k] for k in ("class", "label", "group", "split", "frames", "fps", "width", "height")} == {
        "class": "run", "label": "1", "group": "", "split": "", "frames": "12", "fps": "25",
        "width": "64", "height": "48",
    }  # fmt: skip
    assert excluded["jump/empty.mp4"] == "empty file"
    assert excluded["jump/noise.mp4"].startswith("not a readable video")
    assert excluded["run/short.mp4"].startswith("too short: 1 frame")
    assert excluded["run/z_copy.mp4"] == "duplicate of run/run_01.mp4"
    for path, other in (("jump/both.mp4", "run/both.mp4"), ("run/both.mp4", "jump/both.mp4")):
        assert excluded[path].startswith("conflict")
        assert other in excluded[path]
    assert len(excluded) == 6
    assert all(path in report and reason in report for path, reason in excluded.items())
    assert "notes" not in report


def test_decodable_frames_count_not_those_that_the_container_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIONS["mpeg4"][1], "bf", "0")
    path = write_video(tmp_path / "videos" / "run" / "cut.avi", moving_frames(40, 96, 128))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    make_folder(tmp_path / "videos", ["jump"], 1)
    rows, excluded, report = index(dataset(), tmp_path / "videos")
    frames = int(rows["run/cut.avi"]["frames"])
    assert 10 < frames < 30
    assert f"run/cut.avi ({frames} of 40)" in report
    assert not excluded
    # `fast` counts the frame that is cut off, too
    rows, _, _ = index(dataset(fast=True), tmp_path / "videos")
    assert int(rows["run/cut.avi"]["frames"]) == frames, "a better result is known already"
    (tmp_path / "out" / "index-cache.jsonl").unlink()
    rows, _, _ = index(dataset(fast=True), tmp_path / "videos")
    assert int(rows["run/cut.avi"]["frames"]) == frames + 1


def test_only_new_and_changed_videos_are_decoded_again(root: Path, looked: list[str]) -> None:
    first = index(dataset(), root)
    cache = root.parent / "out" / "index-cache.jsonl"
    # the state of a call that was killed while it wrote its third line
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join([*lines[:2], lines[2][:40]]))
    known = {json.loads(line)["path"] for line in lines[:2]}
    looked.clear()
    assert index(dataset(), root) == first
    assert len(looked) == 12 - 2
    assert not known & set(looked)
    looked.clear()
    os.utime(root / "run" / "run_00.mp4", (1, 1))
    assert index(dataset(), root) == first
    assert looked == ["run/run_00.mp4"]


def parts(config: DatasetConfig, root: Path, count: int, *wanted: int) -> None:
    """Look into some of the parts of an index, each as a job of its own does."""
    for part in wanted or range(1, count + 1):
        index_part(config, root, part, count, root.parent / "out" / "index" / f"{part}-of-{count}.json", jobs=1)


@pytest.fixture
def looked(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos that are looked into from now on."""
    found: list[str] = []
    original = on_videos

    def recording(work, videos, **options):  # type: ignore[no-untyped-def]
        found.extend(Path(video).relative_to(root).as_posix() for video in videos)
        return original(work, videos, **options)

    monkeypatch.setattr("ssar.data.probing.on_videos", recording)
    return found


def test_parts_give_the_same_index_as_one_job(root: Path, looked: list[str]) -> None:
    whole = index(dataset(), root)
    everything = sorted(looked)
    shutil.rmtree(root.parent / "out")
    looked.clear()
    parts(dataset(), root, 3)
    assert sorted(looked) == everything  # each video in one part
    assert index(dataset(), root) == whole
    assert sorted(looked) == everything  # and none again
    # other parts, of another number, know what these found
    looked.clear()
    parts(dataset(), root, 5)
    assert looked == []


def test_a_part_goes_on_where_it_was_killed(root: Path, looked: list[str]) -> None:
    parts(dataset(), root, 2)
    cache = root.parent / "out" / "index" / "1-of-2.jsonl"
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join(lines[:2]) + "\n" + lines[2][:30])
    looked.clear()
    parts(dataset(), root, 2)
    assert sorted(looked) == sorted(json.loads(line)["path"] for line in lines[2:])
    looked.clear()
    index(dataset(), root)
    assert looked == []


def test_files_that_come_go_and_change_between_the_parts_and_the_index(root: Path, looked: list[str]) -> None:
    parts(dataset(), root, 2)
    (root / "run" / "run_00.mp4").unlink()
    write_video(root / "run" / "run_01.mp4", moving_frames(7, seed=5))  # and so run/z_copy.mp4 is no copy any more
    write_video(root / "jump" / "new.mp4", moving_frames(6, seed=6))
    looked.clear()
    rows, excluded, _ = index(dataset(), root)
    assert sorted(looked) == ["jump/new.mp4", "run/run_01.mp4"]
    assert "run/run_00.mp4" not in {*rows, *excluded}
    assert (rows["run/run_01.mp4"]["frames"], rows["jump/new.mp4"]["frames"]) == ("7", "6")
    assert "run/z_copy.mp4" in rows
    shutil.rmtree(root.parent / "out")
    assert index(dataset(), root)[0] == rows


def test_a_part_that_never_ran_is_made_up_for(root: Path) -> None:
    whole = index(dataset(), root)
    shutil.rmtree(root.parent / "out")
    parts(dataset(), root, 3, 1)
    assert index(dataset(), root) == whole


def test_a_file_that_is_being_written_is_left_out_this_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "run" / "run_00.mp4"
    states = iter([State(1, 1), State(2, 2)])
    monkeypatch.setattr(State, "of", classmethod(lambda *_: next(states)))
    state, found = look(str(path), fast=True)
    assert state is None  # not remembered
    assert found.problem is not None
    assert "changed while it was read" in found.problem


def sleepy(path: str, hang: str) -> int:
    if path == hang:
        time.sleep(60)
    if path.endswith("crash"):
        os._exit(11)
    return len(path)


def test_a_video_that_hangs_or_crashes_costs_that_video_only() -> None:
    videos = ["a", "hang", "bb", "crash", "ccc"]
    results = dict(on_videos(partial(sleepy, hang="hang"), videos, jobs=2, seconds=5))
    assert {video: results[video] for video in ("a", "bb", "ccc")} == {"a": 1, "bb": 2, "ccc": 3}
    assert isinstance(results["hang"], Lost)
    assert "hangs" in results["hang"].reason
    assert isinstance(results["crash"], Lost)
    assert "exit status 11" in results["crash"].reason


def test_mistakes_in_the_folder(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        index(dataset(), tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no videos in"):
        index(dataset(), tmp_path / "empty")
    (tmp_path / "broken" / "run").mkdir(parents=True)
    (tmp_path / "broken" / "run" / "a.mp4").touch()
    with pytest.raises(UserError, match=r"(?s)no usable video.*a\.mp4: empty file"):
        index(dataset(), tmp_path / "broken")
    with pytest.raises(UserError, match="2 classes, the dataset's `classes` says 3"):
        index(dataset(classes=3), root)
    shutil.copy(root / "run" / "run_00.mp4", root / "stray.mp4")
    with pytest.raises(UserError, match=r"(?s)<class>/<video>.*stray\.mp4"):
        index(dataset(), root)


def test_a_csv_may_lie_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "videos", 1, 1)
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text("path,label\nvideos/class0/class0_00.mp4,a\nvideos/../videos/x.mp4,a\n")
    with pytest.raises(UserError, match=r"(?s)mistakes:\n  - line 3: no such file: .*videos/x.mp4$"):
        lay_out(dataset(csv="my.csv"), Path())
    Path("my.csv").write_text("path,label\n./videos/class0/class0_00.mp4,a\n")
    assert [video.path for video in lay_out(dataset(csv="my.csv"), Path()).candidates] == [
        "videos/class0/class0_00.mp4"
    ]


def test_csv_gives_labels_groups_and_splits(tmp_path: Path) -> None:
    paths = make_folder(tmp_path / "videos", 2, 2)
    table = tmp_path / "my.csv"
    lines = [
        f"{path},{10 + number % 2},scene{number // 2},{'test' if number < 2 else 'train'}"
        for number, path in enumerate(paths)
    ]
    table.write_text("path,label,group,split\n" + "\n".join(lines))
    rows, _, _ = index(dataset(csv=str(table)), tmp_path / "videos")
    assert [(r["class"], r["label"], r["group"], r["split"]) for r in rows.values()] == [
        ("10", "0", "scene0", "test"), ("11", "1", "scene0", "test"),
        ("10", "0", "scene1", "train"), ("11", "1", "scene1", "train"),
    ]  # fmt: skip


def test_mistakes_in_a_csv_are_told_together(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos", 1, 1)
    table = tmp_path / "my.csv"
    good = "class0/class0_00.mp4"
    table.write_text(
        f"path,label,split\n{good},a,train\n{good},a,train\nx.mp4,a,\n../y.mp4,a,\n{good},,\n{good},a,val\n"
    )
    with pytest.raises(UserError) as caught:
        index(dataset(csv=str(table)), tmp_path / "videos")
    text = str(caught.value)
    for line, words in ((3, "line 2 already"), (4, "no such file"), (5, "outside"), (6, "no label"), (7, "not `val`")):
        assert any(f"line {line}:" in part and words in part for part in text.splitlines()), (line, text)
    table.write_text("file,label\n")
    with pytest.raises(UserError, match="no column path"):
        index(dataset(csv=str(table)), tmp_path / "videos")
    table.write_text("path,label\nStöße/a.mp4,Stöße\n", encoding="latin-1")  # as spreadsheets save it
    with pytest.raises(UserError, match=r"not in UTF-8: .* at byte 13; .*`CSV UTF-8`"):
        index(dataset(csv=str(table)), tmp_path / "videos")


def test_groups_come_from_the_paths(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos", 1, 2)
    rows, _, _ = index(dataset(group_pattern=r"_0(\d)"), tmp_path / "videos")
    assert [row["group"] for row in rows.values()] == ["0", "1"]
    with pytest.raises(UserError, match="fits no path"):
        index(dataset(group_pattern="q(x)"), tmp_path / "videos")
    # before anything is downloaded
    for pattern, words in (("(", "no regular expression"), ("a", "one group in parentheses")):
        with pytest.raises(ValidationError, match=words):
            dataset(group_pattern=pattern)


def test_the_embedded_dataset_brings_its_split(tmp_path: Path) -> None:
    paths = make_folder(tmp_path / "videos", ["rise", "fall"], 1)
    rows = [f"{path},{path.split('/')[0]},{split},x" for path, split in zip(paths, ("train", "test"), strict=True)]
    (tmp_path / "meta.csv").write_text("path,class,split,actor\n" + "\n".join(rows))
    found, _, _ = index(DatasetConfig(kind="synthact", synthact={}), tmp_path / "videos")
    assert [(row["class"], row["label"], row["split"]) for row in found.values()] == [
        ("fall", "0", "train"),
        ("rise", "1", "test"),
    ]


def test_flat_archives_get_their_classes_from_the_lists(tmp_path: Path) -> None:
    """As Kinetics: parts without class folders, a broken video with a replacement, absent ones, unlisted ones."""
    root = tmp_path / "videos"
    names = [f"id{i}_00000{i}_000010" for i in range(6)]
    for number, name in enumerate(names):
        write_video(root / "train" / f"part_{number % 2}" / f"{name}.mp4", moving_frames(4, seed=number))
    shutil.copytree(root / "train" / "part_0", root / "replacement")
    (root / "train" / "part_0" / f"{names[0]}.mp4").write_bytes(b"broken")
    (root / "replacement" / f"{names[2]}.mp4").write_bytes(b"broken")
    header = "label,youtube_id,time_start,time_end,split\n"
    train, test, labelled = (tmp_path / name for name in ("train.csv", "val.csv", "labelled.txt"))
    train.write_text(header + "".join(f"{'ride bike' if i else 'abseil'},id{i},{i},10,train\n" for i in (0, 1, 2, 9)))
    test.write_text(header + "abseil,id3,3,10,val\nride bike,id4,4,10,val\n")
    labelled.write_text(f"abseil/{names[0]}.mp4 0\nride_bike/{names[1]}.mp4 1\n")
    options = {
        "train": ListFile(path=str(train)),
        "test": ListFile(path=str(test)),
        "protocols": {"published": ListSplit(labelled=ListFile(path=str(labelled)))},
    }
    config = dataset(allow_missing=1, **options)
    rows, excluded, report = index(config, root)
    assert {(row["path"], row["class"], row["split"]) for row in rows.values()} == {
        (f"replacement/{names[0]}.mp4", "abseil", "train"),
        (f"train/part_1/{names[1]}.mp4", "ride_bike", "train"),
        (f"train/part_0/{names[2]}.mp4", "ride_bike", "train"),
        (f"train/part_1/{names[3]}.mp4", "abseil", "test"),
        (f"replacement/{names[4]}.mp4", "ride_bike", "test"),
    }
    assert excluded[f"train/part_1/{names[5]}.mp4"] == "in neither the training nor the test list"
    assert excluded[f"train/part_0/{names[4]}.mp4"].startswith("replacement/")
    assert "| training | 4 | 3 | 3 | 1 | 0 | 0 |" in report
    assert "- ride_bike/id9_000009_000010 (train; " in report
    out = tmp_path / "out"
    make_split(out / "index.csv", config, _labels("published"), out / "split.csv")
    flags = {row["path"]: row["labelled"] for row in csv.DictReader((out / "split.csv").open())}
    assert {path for path, flag in flags.items() if flag == "1"} == {
        f"replacement/{names[0]}.mp4",
        f"train/part_1/{names[1]}.mp4",
    }


def _labels(protocol: str):  # type: ignore[no-untyped-def]
    from ssar.config import LabelsConfig

    return LabelsConfig(protocol=protocol)


def test_test_videos_are_kept_when_training_has_their_copies(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    make_folder(root, ["run"], 2)
    shutil.copy(root / "run" / "run_01.mp4", root / "run" / "a_copy.mp4")
    (tmp_path / "my.csv").write_text(
        "path,label,split\nrun/run_00.mp4,run,train\nrun/a_copy.mp4,run,train\nrun/run_01.mp4,run,test\n"
    )
    rows, excluded, _ = index(dataset(csv=str(tmp_path / "my.csv")), root)
    assert sorted(rows) == ["run/run_00.mp4", "run/run_01.mp4"]
    assert excluded == {"run/a_copy.mp4": "duplicate of run/run_01.mp4"}


def test_real_odd_videos(real_videos: Path) -> None:
    found = {path.name: probe(str(path)) for path in (real_videos / "clips").iterdir()}
    assert found["corrupted.mp4"].problem is not None
    assert "after 28 of 50 frames" in found["corrupted.mp4"].problem
    assert {name: item.frames for name, item in found.items() if item.problem is None} == {
        "abseiling_k400.mp4": 250, "mmaction2_test.avi": 164, "rotated_90.mov": 3,
        "torchcodec_testsrc2_vp9.webm": 30, "v_Basketball_g01_c01.avi": 141,
    }  # fmt: skip
    assert (found["rotated_90.mov"].width, found["rotated_90.mov"].height) == (320, 568)
