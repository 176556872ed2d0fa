"""Published lists: every format, found by looking, mistakes told by line, labels from 0 whatever they count from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssar.config import DatasetConfig, ListFile
from ssar.data.layout import lay_out
from ssar.data.list_files import local_list
from ssar.data.lists import Entry, read_list, stem
from ssar.data.matching import refuse_contradictions
from ssar.errors import UserError
from ssar.files import sha256

EXTENSIONS = (".avi", ".mp4")


def write(folder: Path, text: str, name: str = "list.txt") -> ListFile:
    path = folder / name
    path.write_text(text)
    return ListFile(path=str(path))


def described(item: ListFile, role: str = "train") -> list[tuple[str | None, str, int | None]]:
    return [(e.name, e.stem, e.label) for e in read_list(item, role, EXTENSIONS)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Run/a_b 120 3\nSit/c!_10 40 20\n", [("Run", "a_b", 3), ("Sit", "c!_10", 20)]),
        ("Run/a.b.avi 3\r\nSit/c d.MP4 20\r\n", [("Run", "a.b", 3), ("Sit", "c d", 20)]),
        ("/mnt/x/videos/Run/a.avi 3\n/mnt/x/videos/Sit/#1.avi 20\n", [("Run", "a", 3), ("Sit", "#1", 20)]),
        ("/mnt/x/Run/a.avi,3\n/mnt/x/Sit/b.avi,20\n", [("Run", "a", 3), ("Sit", "b", 20)]),
        ("Run/a.avi\n\nSit/b.avi\n", [("Run", "a", None), ("Sit", "b", None)]),
        ("Run/a.avi 1\nRun/a.avi 1\n", [("Run", "a", 1)]),
        ("D:\\data\\Run\\a.avi 1\nD:\\data\\Sit\\b.avi 2\n", [("Run", "a", 1), ("Sit", "b", 2)]),
        ("Run/a.mpg 1\nRun/b.WMV 1\n", [("Run", "a", 1), ("Run", "b", 1)]),
        ("tying knot/-a_bC 1.mp4 3\n", [("tying knot", "-a_bC 1", 3)]),
        ("-a_bCdEfGhI 3\n", [(None, "-a_bCdEfGhI", 3)]),
        ("train/Run/1.avi 0\nval/Run/1.avi 0\n", [("Run", "1", 0), ("Run", "1", 0)]),
    ],
    ids=[
        *("rawframes", "videos", "svformer", "svformer with commas", "ucf test", "repeated line", "Windows"),
        *("other endings than the dataset's", "spaces", "names alone", "one name in two folders"),
    ],
)
def test_formats_are_recognised(tmp_path: Path, text: str, expected: list) -> None:
    assert described(write(tmp_path, text)) == expected


def test_hmdb_folder_has_flags_and_folds(tmp_path: Path) -> None:
    (tmp_path / "ride_bike_test_split1.txt").write_text("#1_x.avi 1 \nb.avi 2 \nc.avi 0 \n")
    (tmp_path / "ride_bike_test_split2.txt").write_text("#1_x.avi 2 \nb.avi 1 \nc.avi 0 \n")
    (tmp_path / "class_list.txt").write_text("ride_bike\n")
    first, second = (ListFile(path=str(tmp_path), fold=fold) for fold in (1, 2))
    assert described(first) == [("ride_bike", "#1_x", None)]
    assert described(first, "test") == [("ride_bike", "b", None)]
    assert described(second) == [("ride_bike", "b", None)]
    with pytest.raises(UserError, match="names no training video"):
        read_list(ListFile(path=str(tmp_path), fold=3), "train", EXTENSIONS)


def test_kinetics_annotations(tmp_path: Path) -> None:
    text = 'label,youtube_id,time_start,time_end,split,is_cc\n"massaging person\'s head",-a_b,12,22,train,0\n'
    assert described(write(tmp_path, text)) == [("massaging_person's_head", "-a_b_000012_000022", None)]
    with pytest.raises(UserError, match=r"list\.txt, line 3"):
        read_list(write(tmp_path, text + "x,y,z,1,train,0\n"), "train", EXTENSIONS)


def test_mistakes_name_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list\.txt, line 3: expected `Class/video frames label`"):
        read_list(write(tmp_path, "A/a 10 0\nA/b 10 0\nA/c ten\n"), "train", EXTENSIONS)
    with pytest.raises(UserError, match=r"line 2: A/a has label 1 and in .*line 1 label 0"):
        read_list(write(tmp_path, "A/a.avi 0\nA/a.avi 1\n"), "train", EXTENSIONS)
    with pytest.raises(UserError, match="names no training video"):
        read_list(write(tmp_path, "\n"), "train", EXTENSIONS)
    with pytest.raises(UserError, match=r"list\.txt is no list of videos"):
        read_list(write(tmp_path, "<html>\n<p>503: come back later</p>\nfor the list\n"), "train", EXTENSIONS)
    with pytest.raises(UserError, match=r"line 1: expected `Class/video.avi \[label\]`"):
        read_list(write(tmp_path, "<html>").model_copy(update={"format": "ucf"}), "train", EXTENSIONS)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00PK")
    for style in ("auto", "kinetics"):
        with pytest.raises(UserError, match="is no list, or not in UTF-8"):
            read_list(ListFile(path=str(tmp_path / "list.txt"), format=style), "train", EXTENSIONS)
    with pytest.raises(UserError, match="is no csv: field larger than"):
        read_list(write(tmp_path, f"{'a' * 200_000},\n").model_copy(update={"format": "kinetics"}), "train", EXTENSIONS)
    with pytest.raises(UserError, match="is a folder"):
        read_list(ListFile(path=str(tmp_path), format="videos"), "train", EXTENSIONS)
    with pytest.raises(UserError, match="no such list"):
        read_list(ListFile(path=str(tmp_path / "none.txt")), "train", EXTENSIONS)


def test_a_list_with_another_checksum_is_refused(tmp_path: Path) -> None:
    item = write(tmp_path, "A/a 10 0\n")
    good = item.model_copy(update={"sha256": sha256(item.path)})
    assert local_list(good) == Path(item.path)
    with pytest.raises(UserError, match="another version of the list"):
        local_list(item.model_copy(update={"sha256": "0" * 64}))


def test_only_video_extensions_are_cut_off() -> None:
    assert stem("a.b.AVI", EXTENSIONS) == "a.b"
    assert stem("mr. smith", EXTENSIONS) == "mr. smith"


def test_labels_that_contradict_the_folders_are_refused() -> None:
    good = [(Entry("a", "Run", 1, "1"), "Run"), (Entry("b", "Sit", 2, "2"), "Sit")]
    refuse_contradictions(good)
    for label, name in ((1, "Sit"), (2, "Run")):
        with pytest.raises(UserError, match="line 9"):
            refuse_contradictions([*good, (Entry("c", name, label, "line 9"), name)])


@settings(max_examples=25, deadline=None)
@given(base=st.sampled_from([0, 1]), order=st.permutations(["Run", "Sit", "Jump"]), gap=st.integers(1, 3))
def test_labels_are_numbered_from_0_in_the_order_of_the_list(
    tmp_path_factory: pytest.TempPathFactory, base: int, order: list[str], gap: int
) -> None:
    root = tmp_path_factory.mktemp("root")
    for name in order:
        for number in range(2):
            (root / name).mkdir(exist_ok=True)
            (root / name / f"{name}{number}.avi").touch()
    lines = {number: [f"{name}/{name}{number}.avi" for name in order] for number in range(2)}
    train = write(root, "".join(f"{line} {base + gap * i}\n" for i, line in enumerate(lines[0])), "train.txt")
    test = write(root, "".join(f"{line}\n" for line in lines[1]), "test.txt")
    layout = lay_out(DatasetConfig(kind="folder", root=str(root), train=train, test=test), root)
    assert layout.order == {name: number for number, name in enumerate(order)}
    assert {video.path: video.split for video in layout.candidates} == dict.fromkeys(lines[0], "train") | dict.fromkeys(
        lines[1], "test"
    )
