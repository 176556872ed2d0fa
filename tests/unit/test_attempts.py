"""Attempts at one run: the newest alone writes, the others leave; what each leaves behind for those who look."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

import pytest

from ssar.engine import life
from ssar.engine.attempts import TOKEN, Claim, Superseded
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.finished import Finished, inputs
from ssar.engine.life import Life
from ssar.engine.outputs import finished
from ssar.engine.state import SILENCE, Attempt, Failure, Progress, newest_checkpoint
from ssar.errors import UserError
from ssar.files import write_text
from ssar.progress import Meter, note


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def kept(claim: Claim, out: Path) -> Finished:
    return Finished(claim.folder, out, "this training")


def finish(claim: Claim, out: Path) -> None:
    checkpoints = Checkpoints(claim.folder, "a1", claim.hold)
    with finished(claim, checkpoints, kept(claim, out), Life(claim)) as place:
        for name in ("model.pt", "curves.csv", "run.json"):
            write_text(place(name), f"{name} of attempt {claim.attempt.attempt}")


def failing(claim: Claim, out: Path) -> None:
    with Life(claim):
        raise ValueError("of the older attempt")


def beating(claim: Claim, out: Path) -> None:
    with Life(claim) as alive:
        for step in range(1000):
            alive.advance(step)
            time.sleep(0.01)
    raise AssertionError("it did not notice")


def checkpointing(claim: Claim, out: Path) -> None:
    Checkpoints(claim.folder, "a1", claim.hold).save({"step": 7})


@pytest.mark.parametrize("writing", [checkpointing, finish, failing, beating])
def test_an_older_attempt_leaves_everything_as_it_is(
    writing: Callable[[Claim, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "HEARTBEAT", 0.05)
    first = Claim.take(tmp_path / "state")
    Checkpoints(first.folder, "a1", first.hold).save({"step": 1})
    second = Claim.take(tmp_path / "state")
    assert [first.attempt.attempt, second.attempt.attempt] == [1, 2]
    Checkpoints(second.folder, "a1", second.hold).save({"step": 2})
    before = contents(tmp_path)
    expected = ValueError if writing is failing else Superseded
    with pytest.raises(expected, match=r"older attempt|superseded by attempt 2"):
        writing(first, tmp_path / "out")
    assert contents(tmp_path) == before
    finish(second, tmp_path / "out")
    assert {name: text for name, text in contents(tmp_path / "out").items() if b"attempt 2" not in text} == {}
    second_names = [f"finished/{name}" for name in ("curves.csv", "model.pt", "record.json", "run.json")]
    assert sorted(contents(tmp_path / "state")) == ["attempt.json", *second_names, "lock"]


def works(folder: Path, name: str) -> Iterator[None]:
    """What an attempt does, step by step, until it finds that it was superseded; its files carry its name."""
    claim = Claim.take(folder / "state")
    yield
    checkpoints = Checkpoints(claim.folder, "a1", claim.hold)
    for step in (1, 2):
        checkpoints.save({"step": step, "attempt": name})
        yield
    with finished(claim, checkpoints, kept(claim, folder / "out"), Life(claim)) as place:
        for file in ("model.pt", "curves.csv", "run.json"):
            write_text(place(file), name)
            yield
    yield


@pytest.mark.parametrize("number", range(8))
def test_attempts_that_interleave_never_mix_their_outputs(number: int, tmp_path: Path) -> None:
    """Three attempts take turns at random: in the end all files are of the one that began last."""
    dice = random.Random(number)
    working = {name: works(tmp_path, name) for name in "ABC"}
    begun: dict[str, None] = {}
    while working:
        name = dice.choice(sorted(working))
        begun[name] = None
        try:
            next(working[name])
        except (Superseded, StopIteration):
            del working[name]
    last = list(begun)[-1].encode()
    assert contents(tmp_path / "out") == {"model.pt": last, "curves.csv": last, "run.json": last}
    second_names = [f"finished/{name}" for name in ("curves.csv", "model.pt", "record.json", "run.json")]
    assert sorted(contents(tmp_path / "state")) == ["attempt.json", *second_names, "lock"]


def test_attempts_at_the_same_time_get_different_numbers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: Claim.take(tmp_path), range(24)))
    assert sorted(claim.attempt.attempt for claim in claims) == list(range(1, 25))


def test_a_process_of_an_older_launcher_leaves_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Claim.given(tmp_path) is None
    first = Claim.take(tmp_path)
    monkeypatch.setenv(TOKEN, first.attempt.token)
    given = Claim.given(tmp_path)
    assert given is not None
    assert given.attempt == first.attempt
    Claim.take(tmp_path)
    with pytest.raises(Superseded, match="attempt 2"):
        Claim.given(tmp_path)


def test_a_run_whose_state_was_removed_is_left_alone(tmp_path: Path) -> None:
    claim = Claim.take(tmp_path / "state")
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    with pytest.raises(Superseded):
        claim.check()
    (tmp_path / "state" / "lock").unlink()
    (tmp_path / "state").rmdir()
    with pytest.raises(Superseded, match="is gone"):
        claim.check()
    assert not (tmp_path / "state").exists()


def test_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "HEARTBEAT", 0.02)
    claim = Claim.take(tmp_path)
    starting = Progress.read(tmp_path)
    assert starting is not None
    assert (starting.phase, starting.step, starting.checkpoint) == ("starting", 0, None)
    Checkpoints(tmp_path, "a1", claim.hold).save({"step": 4})
    with Life(claim) as alive:
        alive.begin(4, 104, 8)
        for step in range(5, 26):
            alive.advance(step)
            time.sleep(0.01)
        ends = time.monotonic() + 100
        while ((seen := Progress.read(tmp_path)) is None or seen.step != 25) and time.monotonic() < ends:
            time.sleep(0.01)
        assert seen is not None
        assert (seen.phase, seen.step) == ("training", 25)
        assert (seen.attempt, seen.steps, seen.checkpoint) == (1, 104, 4)
        # 100 steps of 8 clips in a second at most; the time left is that of the steps left at this speed
        assert seen.clips_per_second is not None
        assert seen.seconds_left is not None
        assert 0 < seen.clips_per_second <= 801
        assert seen.seconds_left == pytest.approx((104 - seen.step) * 8 / seen.clips_per_second, rel=0.1)
        assert seen.alive()
        assert not seen.alive(seen.updated + SILENCE)
        assert seen.alive(seen.updated - 1)  # by a clock that is fast
        assert not seen.alive(seen.updated - SILENCE)


def full_log() -> TextIO:
    """A standard error on a full disk."""
    return TextIOWrapper(FileIO("/dev/full", "w"), write_through=True)  # type: ignore[type-var]


def test_a_file_server_that_fails_for_a_while_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "HEARTBEAT", 0.02)
    claim = Claim.take(tmp_path)
    attempt = tmp_path / Attempt.FILE
    with Life(claim) as alive:
        monkeypatch.setattr("sys.stderr", full_log())
        # reading a folder is an OSError; put there and taken away in one step, since a missing file says "superseded"
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to("folder")
        (tmp_path / "link").replace(attempt)
        with pytest.raises(IsADirectoryError), claim.hold():
            pass
        monkeypatch.setenv(TOKEN, claim.attempt.token)
        with pytest.raises(IsADirectoryError):
            Claim.given(tmp_path)
        time.sleep(0.2)
        alive.advance(7)
        claim.attempt.write(tmp_path)
        ends = time.monotonic() + 100
        while ((seen := Progress.read(tmp_path)) is None or seen.step != 7) and time.monotonic() < ends:
            time.sleep(0.02)
        monkeypatch.undo()
    assert seen is not None
    assert seen.step == 7


def test_threads_of_a_process_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssar.engine.attempts.PATIENCE", 0.05)
    claim = Claim.take(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with claim.hold():
            save = pool.submit(Checkpoints(tmp_path, "a1", claim.hold).save, {"step": 3})
            time.sleep(0.3)
        save.result()
        with claim.hold(), pytest.raises(UserError, match="another process has held it"):
            Claim.take(tmp_path)


def test_a_log_on_a_full_disk_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssar.progress.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("sys.stderr", full_log())
    with pytest.raises(OSError, match="No space left"):
        print("a line", file=sys.stderr, flush=True)
    note("a line")
    with Meter(2, "training") as meter:
        meter.advance()


def test_the_first_reason_stands_and_others_follow_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = Claim.take(tmp_path)
    alive = Life(claim)
    alive.begin(12, 20, 1)
    with pytest.raises(UserError), alive:
        raise UserError("step 12 is not finite\n  - term 'labelled'")
    with pytest.raises(RuntimeError), Life(claim, speaks=False):
        raise RuntimeError("the other process has gone")
    failure = Failure.read(tmp_path)
    assert failure is not None
    assert (failure.reason, failure.step, failure.attempt) == ("step 12 is not finite\n  - term 'labelled'", 12, 1)
    assert Progress.read(tmp_path) is None
    capsys.readouterr()
    Claim.take(tmp_path)
    told = r"attempt 2 .*\n.* attempt 1 \(.+\) failed 20.+ at step 12: step 12 is not finite\n  - term 'labelled'\n"
    assert re.search(told, capsys.readouterr().err)
    assert Failure.read(tmp_path) is None


def test_an_exception_is_told_with_its_place_in_the_package(tmp_path: Path) -> None:
    claim = Claim.take(tmp_path)
    with pytest.raises(TypeError), Life(claim):
        Checkpoints(3, "a1")  # type: ignore[arg-type]
    failure = Failure.read(tmp_path)
    assert failure is not None
    assert failure.reason.startswith("TypeError: ")
    assert "(ssar/engine/checkpoint.py:" in failure.reason
    assert failure.reason.endswith(" in __init__)")


@pytest.mark.parametrize("asked", [SystemExit(143), KeyboardInterrupt()])
def test_a_request_to_stop_is_no_failure(asked: BaseException, tmp_path: Path) -> None:
    claim = Claim.take(tmp_path)
    with pytest.raises(type(asked)), Life(claim):
        raise asked
    assert Failure.read(tmp_path) is None
    assert Progress.read(tmp_path) is None


@pytest.mark.parametrize(
    ("silent", "told"),
    [(SILENCE + 1, "attempt 1 (elsewhere, job 4711) ended without a word"), (3, "was killed a moment ago, or still")],
)
def test_the_next_attempt_tells_of_one_that_vanished(
    silent: float, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Attempt(1, "token", host="elsewhere", job="4711").write(tmp_path)
    Progress(1, "training", 77, 400, updated=time.time() - silent).write(tmp_path)
    (tmp_path / ".checkpoint-abcdefgh.ckpt").write_bytes(b"half of one")
    Claim.take(tmp_path)
    said = capsys.readouterr().err
    assert told in said
    assert "at step 77" in said
    assert not (tmp_path / ".checkpoint-abcdefgh.ckpt").exists()


def test_a_log_begins_with_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    Claim.take(tmp_path)
    assert re.search(r"-+ attempt 1 \(\S+, job 4711\) -+\n", capsys.readouterr().err)


def test_an_attempt_after_one_that_was_stopped_or_finished_has_nothing_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Claim.take(tmp_path / "state").interrupted()
    finish(Claim.take(tmp_path / "state"), tmp_path / "out")
    Claim.take(tmp_path / "state")
    assert [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines() if "-----" not in line] == []


STRANGE = json.dumps(asdict(Progress(1, "training", 3, 9, updated=4711.0)))


@pytest.mark.parametrize(
    "text",
    [
        *("", '{"attempt": 1', "[]", '{"attempt": 1}', '{"attempt": "x", "token": 3}', "[" * 100_000),
        *(STRANGE.replace("4711.0", moment) for moment in ("1e999", "NaN", "1e300", "-1e300")),
    ],
)
def test_a_torn_or_foreign_file_counts_for_none(text: str, tmp_path: Path) -> None:
    for kind in (Attempt, Progress, Failure):
        (tmp_path / kind.FILE).write_text(text)
        assert kind.find(tmp_path) is None
        assert kind.find(tmp_path / kind.FILE) is None
    assert newest_checkpoint(tmp_path) is None
    Claim.take(tmp_path)
    content = json.loads((tmp_path / "attempt.json").read_text())
    content["attempt"] = "many"
    (tmp_path / "attempt.json").write_text(json.dumps(content))
    assert Attempt.read(tmp_path) is None


def test_outputs_that_do_not_fit_appear_not_at_all(tmp_path: Path) -> None:
    claim = Claim.take(tmp_path / "state")
    checkpoints = Checkpoints(claim.folder, "a1", claim.hold)
    checkpoints.save({"step": 3})

    def write() -> None:
        with finished(claim, checkpoints, kept(claim, tmp_path / "out"), Life(claim)) as place:
            write_text(place("model.pt"), "weights")
            with open("/dev/full", "w", buffering=1) as full:
                full.write("curves\n")

    with pytest.raises(UserError, match=r"outputs could not be written to .*: No space left.*checkpoint is of step 3"):
        write()
    assert contents(tmp_path / "out") == {}
    assert checkpoints.load() == {"step": 3}


# --- finished runs ----------------------------------------------------------------------------------


def test_outputs_that_were_deleted_are_given_back(tmp_path: Path) -> None:
    first = Claim.take(tmp_path / "state")
    finish(first, tmp_path / "out")
    made = contents(tmp_path / "out")
    assert (tmp_path / "out/model.pt").stat().st_nlink == 2, "it takes room twice"
    before = (tmp_path / "out/model.pt").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "out")
    again = Claim.take(tmp_path / "state")
    assert kept(again, tmp_path / "out").restore(again)
    assert contents(tmp_path / "out") == made
    assert (tmp_path / "out/model.pt").stat().st_mtime_ns > before
    with pytest.raises(Superseded):
        kept(first, tmp_path / "out").restore(first)


@pytest.mark.parametrize("harm", ["another training", "a damaged file", "no record"])
def test_what_is_not_the_same_training_is_not_given_back(harm: str, tmp_path: Path) -> None:
    claim = Claim.take(tmp_path / "state")
    finish(claim, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    folder = tmp_path / "state/finished"
    if harm == "a damaged file":
        (folder / "model.pt").write_bytes(b"m")
    if harm == "no record":
        (folder / "record.json").unlink()
    asked = Finished(tmp_path / "state", tmp_path / "out", "that" if harm == "another training" else "this training")
    assert not asked.restore(claim)
    assert not folder.exists()
    assert not (tmp_path / "out").exists()


def test_settings_inputs_and_code_make_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, teacher = tmp_path / "split.csv", tmp_path / "model.pt"
    split.write_text("videos")
    teacher.write_text("weights")

    def identity(config: str = "{}", **upstream: Path) -> str:
        return Finished.of(tmp_path, tmp_path, config, inputs(split, upstream, None)).identity

    found = [identity(), identity("{1}"), identity(init=teacher), identity(scores=teacher)]
    assert identity() == found[0]
    split.write_text("other videos")
    found.append(identity())
    teacher.write_text("other weights")
    found.append(identity(init=teacher))
    monkeypatch.setattr("ssar.engine.finished.code", lambda: "other code")
    found.append(identity())
    assert len(set(found)) == len(found)
    with pytest.raises(UserError, match="there is no such file"):
        identity(init=tmp_path / "gone.pt")
