"""What the entries of a list mean: other spellings are reconciled, doubt is an error."""

from __future__ import annotations

import pytest

from ssar.data.lists import Entry, entry
from ssar.data.matching import Matcher, one_spelling
from ssar.errors import UserError

EXTENSIONS = (".avi", ".mp4")


def matched(paths: list[str], lines: list[str], labels: list[int] | None = None) -> list[list[str]]:
    """What each line finds in a folder with these files; nothing for a missing one."""
    entries = entries_of(lines, labels)
    matcher = Matcher(((path, path.split("/")[-2] if "/" in path else "") for path in paths), EXTENSIONS)
    found, missing = matcher.match(entries)
    assert len(found) + len(missing) == len(lines)
    by_line = {item.where: paths for item, paths in found}
    return [by_line.get(item.where, []) for item in entries]


def entries_of(lines: list[str], labels: list[int] | None = None) -> list[Entry]:
    return [
        entry(line, str(labels[number]) if labels else None, f"line {number + 1}", EXTENSIONS)
        for number, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("HandstandPushups/v_HandStandPushups_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c01"),
        ("HandStandPushups/v_HandStandPushups_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c01"),
        ("HandstandPushups/v_HandstandPushups_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c01.avi"),
        ("UCF101/v_HandstandPushups_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c01.avi"),
        (
            "videos/Handstand Pushups/v_HandStandPushups_g01_c01.MP4",
            "/mnt/x/HandstandPushups/v_HandStandPushups_g01_c01.avi",
        ),
        ("v_HandstandPushups_g01_c01.avi", "v_HandStandPushups_g01_c01"),
        ("tying knot (not on a tie)/a-_b_000001_000011.mp4", "tying_knot_(not_on_a_tie)/a-_b_000001_000011.mp4"),
        ("tying_knot_not_on_a_tie/a-_b_000001_000011.mp4", "tying knot (not on a tie)/a-_b_000001_000011.mp4"),
        ("massaging persons head/x_000001_000011.mp4", "massaging_person's_head/x_000001_000011.mp4"),
        ("massaging_person\u2019s_head/x_000001_000011.mp4", "massaging_person's_head/x_000001_000011.mp4"),
        ("abseiling/x.mp4", "abseiling/x_000001_000011.mp4"),
        ("part_3/x.mp4", "abseiling/x_000001_000011.mp4"),
        ("abseiling/x_000001_000011.mp4", "abseiling/x.mp4"),
        ("abseiling/x_000001_000011.mp4", "x"),
        ("caf\u00e9/x.mp4", "cafe\u0301/x.mp4"),
        ("Run/caf\u00e9.mp4", "Run/cafe\u0301.mp4"),
        ("train/Run/a.mp4", "D:\\data\\Run\\a.avi"),
    ],
)
def test_other_spellings_are_the_same_video(path: str, line: str) -> None:
    assert matched([path], [line]) == [[path]]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("Sit/a.avi", "Run/b.avi"),
        ("abseiling/x_000005_000015.mp4", "abseiling/x_000001_000011.mp4"),  # another part of the same film
        ("Running/a.avi", "Running_Fast/b.avi"),
    ],
)
def test_other_videos_are_not(path: str, line: str) -> None:
    assert matched([path], [line]) == [[]]


def test_the_nearest_spelling_wins_and_leaves_the_others_alone() -> None:
    # on a disk that knows case these are two videos, and the list names both
    assert matched(["Run/A1.avi", "Run/a1.avi"], ["Run/a1", "Run/A1"]) == [["Run/a1.avi"], ["Run/A1.avi"]]
    # a missing video is not replaced by the one whose name differs in case, which the list names itself
    assert matched(["k/abC_000001_000011.mp4"], ["k/aBC_000001_000011", "k/abC_000001_000011"]) == [
        [],
        ["k/abC_000001_000011.mp4"],
    ]
    # classes that differ in spelling alone, and both are in the list
    assert matched(["1-0/a.avi", "10/a.avi"], ["10/a", "1-0/a"]) == [["10/a.avi"], ["1-0/a.avi"]]
    assert matched(["1-0/a.avi"], ["10/a", "1-0/b"]) == [[], []]


def test_a_video_of_another_class_of_the_list_is_no_substitute() -> None:
    paths = ["x/Run/a.avi", "y/Sit/a.avi", "part_0/b.mp4", "p/Jump/c.mp4"]
    lines = ["Run/a", "Run/b", "Jump/c", "Run/z", "Sit/q"]
    assert matched(paths, lines) == [["x/Run/a.avi"], ["part_0/b.mp4"], ["p/Jump/c.mp4"], [], []]
    assert matched(["Sit/a.avi"], ["Run/a", "sit/b"]) == [[], []]


def test_copies_of_a_kinetics_clip_are_one_video() -> None:
    paths = ["train/part_0/x_000001_000011.mp4", "replacement/x_000001_000011.mp4"]
    assert matched(paths, ["abseiling/x_000001_000011"]) == [sorted(paths)]
    assert matched(["Run/a.avi", "Run/a.mp4"], ["Run/a"]) == [["Run/a.avi", "Run/a.mp4"]]


@pytest.mark.parametrize(
    ("paths", "lines", "problem"),
    [
        (["a/Run/1.avi", "b/Run/1.avi"], ["Run/1"], r"line 1: Run/1 could be a/Run/1.avi, b/Run/1.avi"),
        (["cam1/1.avi", "cam2/1.avi"], ["Run/1"], r"line 1: Run/1 could be cam1/1.avi, cam2/1.avi"),
        (["Run/AB.avi", "Run/aB.avi"], ["Run/ab"], r"line 1: Run/ab could be Run/AB.avi, Run/aB.avi"),
        (["k/x_000001_000011.mp4", "k/x_000020_000030.mp4"], ["k/x"], r"line 1: k/x could be"),
        (["k/x.mp4"], ["k/x_000001_000011", "k/x_000020_000030"], r"line 2: .* means k/x.mp4, as does .* in line 1"),
        (["Run/ab.avi"], ["Run/Ab", "Run/aB"], r"line 2: Run/aB means Run/ab.avi, as does Run/Ab in line 1"),
    ],
)
def test_doubt_is_an_error(paths: list[str], lines: list[str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        matched(paths, lines)


def test_the_folders_of_a_list_tell_videos_of_one_name_apart() -> None:
    paths = ["train/Run/1.avi", "val/Run/1.avi"]
    assert matched(paths, ["/mnt/x/train/Run/1.avi", "/mnt/x/val/Run/1.avi"]) == [[paths[0]], [paths[1]]]


def test_a_class_has_one_spelling_in_all_lists() -> None:
    train = entries_of(["HandstandPushups/a", "Run/b"], [36, 7])
    test = entries_of(["HandStand Pushups/c", "Sit/d"], [36, 8])
    lists = one_spelling({"train": train, "test": test})
    assert [item.name for item in lists["train"] + lists["test"]] == [
        "HandstandPushups",
        "Run",
        "HandstandPushups",
        "Sit",
    ]
    # one list with two spellings: the label says that they are one class, or that they are two
    mixed = one_spelling({"train": entries_of(["Hand Stand/a", "HandStand/b"], [3, 3])})["train"]
    assert {item.name for item in mixed} == {"Hand Stand"}
    two = one_spelling({"train": entries_of(["1-0/a", "10/b"], [3, 4]), "test": entries_of(["10/c"], [4])})
    assert [item.name for item in two["train"] + two["test"]] == ["1-0", "10", "10"]
    with pytest.raises(UserError, match=r"line 2: HandStand, and Hand Stand in line 1: without labels"):
        one_spelling({"train": entries_of(["Hand Stand/a", "HandStand/b"])})


def test_folders_that_contradict_the_numbers_are_told() -> None:
    with pytest.raises(UserError, match=r"(?s)`numbers: false`.*climb: 5 \(line 1\) and 6 \(line 2\)"):
        one_spelling({"train": entries_of(["climb/a", "climb/b", "kick/c", "run/d"], [5, 6, 20, 7])})
    # folders that are no classes at all
    one_spelling({"train": entries_of(["train/a", "train/b", "more/c", "more/d"], [5, 6, 5, 7])})
