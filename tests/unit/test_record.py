"""The record of pseudo-labels: what is kept and when, checkpoints, several processes, and what figures ask of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from ssar.config import RunConfig, parse_run
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.plan import plan
from ssar.engine.record import Recorder
from ssar.errors import UserError
from ssar.evaluation.pseudo_labels import Record, accuracy_on, correct_ratio, read_record
from ssar.methods.base import Batch, Method, View
from ssar.runtime import Runtime

WEAK = View("unlabelled", "rgb", "weak")
PATHS = [f"{number}.avi" for number in range(7)]
Seen = tuple[list[int], dict[str, Tensor]]


def probabilities(seed: int, batch: int, classes: int = 3) -> Tensor:
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(dim=1)


def made_up(steps: int, batch: int = 4, videos: int = len(PATHS)) -> list[Seen]:
    """Videos and predictions of each step; a video may be twice in a batch."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randint(videos, (batch,), generator=generator).tolist(),
            {"predictor": probabilities(2 * step, batch), "auxiliary": probabilities(2 * step + 1, batch)},
        )
        for step in range(steps)
    ]


def literal(seen: list[Seen]) -> dict[str, tuple[list[int], list[float], list[int]]]:
    """The last words, entry by entry."""
    found = {name: ([-1] * 7, [0.0] * 7, [-1] * 7) for name in ("predictor", "auxiliary")}
    for step, (videos, predictions) in enumerate(seen):
        for name, (label, confidence, when) in found.items():
            for video, row in zip(videos, predictions[name].tolist(), strict=True):
                label[video], confidence[video], when[video] = row.index(max(row)), max(row), step
    return found


def test_the_last_word_on_a_video_counts_even_within_a_batch() -> None:
    seen = made_up(9)
    assert any(len(set(videos)) < len(videos) for videos, _ in seen)
    recorder = Recorder(PATHS, every=1)
    for step, (videos, predictions) in enumerate(seen):
        recorder.see(step, torch.tensor(videos), predictions)
    for name, (label, confidence, when) in literal(seen).items():
        assert recorder.last[name].label.tolist() == label
        assert recorder.last[name].confidence.tolist() == pytest.approx(confidence)
        assert recorder.last[name].step.tolist() == when


def test_a_snapshot_is_a_copy_of_the_words_at_its_epoch() -> None:
    recorder = Recorder(PATHS, every=2)
    for step, (videos, predictions) in enumerate(made_up(9)):
        recorder.see(step, torch.tensor(videos), predictions)
        recorder.end_step(step / 1.5, (step + 1) / 1.5, last=step == 8)
    found = recorder.record()
    assert found.epochs.tolist() == [2, 4, 6]  # reached by steps 3, 6 and 9, of which the last takes one only
    for number, steps in enumerate((3, 6, 9)):
        for index, (label, confidence, _) in enumerate(literal(made_up(9)[:steps]).values()):
            assert found.label[number, index].tolist() == label
            assert found.confidence[number, index].tolist() == pytest.approx(confidence)
    assert (found.label.dtype, found.confidence.dtype) == (np.int16, np.float32)


def test_the_end_is_on_record_wherever_it_falls() -> None:
    recorder = Recorder(PATHS, every=10)
    for step in range(5):
        recorder.end_step(step * 3, (step + 1) * 3, last=step == 4)
    assert recorder.record().epochs.tolist() == [10, 15]
    # 0.3 / 0.1 is a little less than 3
    finest = Recorder(PATHS, every=0.1)
    finest.end_step(0.2, 0.3, last=True)
    assert finest.record().epochs.tolist() == pytest.approx([0.3])


def test_a_network_that_comes_later_has_said_nothing_before() -> None:
    recorder = Recorder(PATHS, every=1)
    recorder.see(0, torch.tensor([2]), {"predictor": probabilities(0, 1)})
    recorder.end_step(0, 1, last=False)
    recorder.see(1, torch.tensor([2]), {"auxiliary": probabilities(1, 1)})
    recorder.end_step(1, 2, last=True)
    found = recorder.record()
    assert found.networks == ("predictor", "auxiliary")
    assert (found.label[0, 1] == -1).all()
    assert found.label[1, 1, 2] >= 0
    assert found.label[1, 0, 2] == found.label[0, 0, 2]


def test_predictions_of_less_precision_and_with_a_gradient_are_taken() -> None:
    recorder = Recorder(PATHS, every=1)
    row = probabilities(0, 1).bfloat16().requires_grad_()
    recorder.see(0, torch.tensor([1]), {"predictor": row})
    assert recorder.last["predictor"].confidence.dtype == torch.float32
    assert not recorder.last["predictor"].confidence.requires_grad


@pytest.mark.parametrize("truth", [None, torch.arange(7) % 3])
def test_the_file_keeps_everything(tmp_path: Path, truth: Tensor | None) -> None:
    recorder = Recorder(PATHS, every=1, truth=truth)
    for step, (videos, predictions) in enumerate(made_up(3)):
        recorder.see(step, torch.tensor(videos), predictions)
        recorder.end_step(step, step + 1, last=step == 2)
    recorder.write(tmp_path / "pseudo_labels.npz")
    found, expected = read_record(tmp_path / "pseudo_labels.npz"), recorder.record()
    assert found.networks == ("predictor", "auxiliary")
    assert (found.truth is None) == (truth is None)
    for name, value in vars(expected).items():
        assert np.array_equal(getattr(found, name), value), name


def test_a_run_without_predictions_has_an_empty_record(tmp_path: Path) -> None:
    recorder = Recorder(PATHS, every=1)
    recorder.end_step(0, 1, last=True)
    recorder.write(tmp_path / "p.npz")
    found = read_record(tmp_path / "p.npz")
    assert found.label.shape == (1, 0, 7)
    with pytest.raises(UserError, match="`predictor` were recorded; the record has those of: none"):
        found.of("predictor")


def test_files_that_are_no_record_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such record; set train\.record_epochs"):
        read_record(tmp_path / "missing.npz")
    (tmp_path / "p.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"p\.npz is damaged"):
        read_record(tmp_path / "p.npz")
    np.savez(tmp_path / "other.npz", networks=np.array(["a"]))
    with pytest.raises(UserError, match=r"other\.npz is damaged"):
        read_record(tmp_path / "other.npz")


# --- what figures ask -----------------------------------------------------------------------------


def drawn(seed: int, videos: int = 30, **changes: Any) -> Record:
    rng = np.random.default_rng(seed)
    values = {
        "paths": np.array([f"{number}.avi" for number in range(videos)]),
        "epochs": np.array([10.0, 20.0]),
        "networks": ("predictor", "auxiliary"),
        "label": rng.integers(-1, 3, (2, 2, videos)).astype(np.int16),
        "confidence": rng.random((2, 2, videos)).astype(np.float32),
        "truth": np.arange(videos) % 3,
    }
    return Record(**values | changes)


def test_the_ratio_of_correct_labels_is_that_of_figure_2() -> None:
    record = drawn(0)
    assert record.truth is not None
    for network, name in enumerate(record.networks):
        found = correct_ratio(record, name, 0.5)
        for shot in range(2):
            count = 0
            for video in range(30):
                sure = record.confidence[shot, network, video] >= 0.5
                count += bool(sure and record.label[shot, network, video] == record.truth[video])
            assert found[shot] == pytest.approx(count / 30)


def test_the_accuracy_on_the_others_samples_is_that_of_figure_6() -> None:
    record = drawn(0)
    assert record.truth is not None
    for network, by in ((0, 1), (1, 1), (1, 0)):
        found = accuracy_on(record, record.networks[network], record.networks[by], 0.5)
        for shot in range(2):
            right = []
            for video in range(30):
                label, theirs = record.label[shot, network, video], record.label[shot, by, video]
                if theirs >= 0 and record.confidence[shot, by, video] >= 0.5 and label >= 0:
                    right.append(label == record.truth[video])
            assert found[shot] == pytest.approx(sum(right) / len(right))


def test_another_runs_network_can_choose_the_samples() -> None:
    fixmatch, cmpl = drawn(1, networks=("predictor",), label=drawn(1).label[:, :1]), drawn(0)
    order = np.random.default_rng(2).permutation(30)
    shuffled = drawn(
        0,
        paths=cmpl.paths[order],
        label=cmpl.label[..., order],
        confidence=cmpl.confidence[..., order],
        epochs=np.array([10.0, 20.04]),  # another batch, whose last step ends elsewhere
    )
    found = accuracy_on(fixmatch, "predictor", "auxiliary", 0.5, shuffled)
    joined = drawn(
        0,
        label=np.stack([fixmatch.label[:, 0], cmpl.label[:, 1]], axis=1),
        confidence=np.stack([fixmatch.confidence[:, 0], cmpl.confidence[:, 1]], axis=1),
    )
    assert found == pytest.approx(accuracy_on(joined, "predictor", "auxiliary", 0.5))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"epochs": np.array([10.0, 30.0])}, r"other epochs \(10, 20; 10, 30\)"),
        ({"epochs": np.array([10.0])}, "other epochs"),
        ({"paths": np.array([f"{number}.mp4" for number in range(30)])}, "other unlabelled videos"),
        ({"networks": ("predictor", "teacher")}, "`auxiliary` were recorded; the record has those of: predictor, teac"),
    ],
)
def test_records_that_do_not_fit_are_refused(other: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        accuracy_on(drawn(1), "predictor", "auxiliary", 0.5, drawn(0, **other))


@pytest.mark.parametrize("truth", [None, np.full(30, -1)])
def test_nothing_is_right_where_the_truth_is_unknown(truth: np.ndarray | None) -> None:
    with pytest.raises(UserError, match="no true labels"):
        correct_ratio(drawn(0, truth=truth), "predictor", 0.5)


def test_shares_of_nothing() -> None:
    record = drawn(0)
    assert np.isnan(accuracy_on(record, "predictor", "auxiliary", 1.1)).all()
    assert correct_ratio(record, "predictor", 1.1).tolist() == [0, 0]
    unasked = drawn(0, label=np.full((2, 2, 30), -1, np.int16))
    assert correct_ratio(unasked, "predictor", 0.0).tolist() == [0, 0]  # not asked is not confident of anything


# --- in the loop ----------------------------------------------------------------------------------


class Guess(Method):
    """A linear classifier that predicts its unlabelled clips."""

    views = (WEAK,)

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config, 3)
        torch.manual_seed(0)
        self.predictor = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))  # type: ignore[assignment]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.predictor(batch.clips[WEAK])
        self.predictions = {"predictor": logits.detach().softmax(dim=1)}
        return {"unlabelled": (logits - 1).square().mean()}

    def weights(self, epoch: float) -> dict[str, float]:
        return {"unlabelled": 1.0}


def settings() -> RunConfig:
    values = {
        "method": "supervised",
        "version": 1,
        "dataset": "made-up",
        "data": {},
        "labels": {"protocol": "all"},
        "optim": {"lr": 0.1, "schedule": "constant"},
        "train": {"steps": 6, "labelled": 2, "unlabelled": 2, "global_labelled": 4},
        "options": {},
    }
    return parse_run(json.dumps(values))


def clips(micro: int) -> Batch:
    generator = torch.Generator().manual_seed(micro)
    video = torch.randperm(7, generator=generator)[:2]
    clip = torch.randn(2, 3, 1, 2, 2, generator=generator)
    return Batch({WEAK: clip}, torch.zeros(0), None, 0.0, {"unlabelled": video})


def micro_batches(start: int) -> Iterator[int]:
    return iter(range(2 * start, 12))


def loop(folder: Path, checkpoints: Checkpoints | None = None, *, record: bool = True) -> Loop:
    from lightning_fabric import Fabric  # seconds, which the processes below do without

    config = settings()
    return Loop(
        Fabric(accelerator="cpu"),
        Guess(config),
        config,
        plan(config, 8, 8, devices=1),  # 2 steps are an epoch
        Runtime(checkpoint_minutes=0),
        checkpoints or Checkpoints(folder, "id"),
        Curves(None),
        Interrupt(),
        Recorder(PATHS, every=1) if record else None,
    )


def run(one: Loop) -> Loop:
    one.run(micro_batches(one.step), lambda micro, _: (clips(micro), ["a", "b"]))
    return one


def same(ours: Record, theirs: Record) -> bool:
    return all(np.array_equal(value, getattr(theirs, name)) for name, value in vars(ours).items() if name != "truth")


def test_the_loop_shows_every_micro_batch(tmp_path: Path) -> None:
    whole = run(loop(tmp_path))
    assert whole.recorder is not None
    found = whole.recorder.record()
    assert found.epochs.tolist() == [1, 2, 3]
    when = [-1] * 7
    for micro in range(12):
        for video in clips(micro).video["unlabelled"].tolist():
            when[video] = micro
    assert whole.recorder.last["predictor"].step.tolist() == when


def test_resuming_from_any_checkpoint_gives_the_same_record(tmp_path: Path) -> None:
    states: list[dict[str, Any]] = []

    class Kept(Checkpoints):
        def save(self, state: dict[str, Any]) -> None:
            super().save(state)
            states.append(self.load() or {})

    whole = run(loop(tmp_path, Kept(tmp_path / "kept", "id")))
    assert whole.recorder is not None
    assert [state["step"] for state in states] == [1, 2, 3, 4, 5, 6]
    for state in list(states):
        again = loop(tmp_path / "again")
        again.load_state_dict(state)
        run(again)
        assert again.recorder is not None
        assert same(again.recorder.record(), whole.recorder.record()), state["step"]
        for ours, theirs in zip(again.recorder.last["predictor"], whole.recorder.last["predictor"], strict=True):
            assert torch.equal(ours, theirs)


def test_a_state_without_a_record_serves_and_none_is_kept_when_off(tmp_path: Path) -> None:
    off = run(loop(tmp_path, record=False))
    state = off.state_dict()
    assert "recorder" not in state
    on = loop(tmp_path)
    on.load_state_dict(state | {"step": 4})
    run(on)
    assert on.recorder is not None
    assert on.recorder.record().epochs.tolist() == [3]
    assert "recorder" in on.state_dict()


# --- processes ------------------------------------------------------------------------------------


def fed(rank: int, processes: Callable[[int], int]) -> Recorder:
    """A process's part of six steps of two shares each, with a checkpoint after the fourth.

    `processes`: how many there are in a step.
    """
    recorder = Recorder(PATHS, every=math.inf)
    for step, (videos, predictions) in enumerate(made_up(6)):
        for share in range(2):
            if processes(step) == 1 or share == rank:
                part = slice(share * 2, share * 2 + 2)
                own = {name: rows[part] for name, rows in predictions.items()}
                recorder.see(2 * step + share, torch.tensor(videos[part]), own)
        if step == 3:
            recorder.merge()
            state = recorder.state_dict()
            recorder = Recorder(PATHS, every=math.inf)
            recorder.load_state_dict(state)
    recorder.end_step(0, 1, last=True)
    return recorder


PLANS: dict[str, Callable[[int], int]] = {"two": lambda step: 2, "one, then two": lambda step: 1 if step < 4 else 2}


def two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for name, processes in PLANS.items():
        fed(rank, processes).write(Path(folder) / f"{name}-{rank}.npz")
    dist.destroy_process_group()


def test_two_processes_record_what_one_does(tmp_path: Path) -> None:
    """Also where the run began on one."""
    mp.spawn(two_processes, (str(tmp_path),), nprocs=2)
    expected = fed(0, lambda step: 1).record()
    assert (expected.label >= 0).sum() > 6
    for name in PLANS:
        for rank in range(2):
            assert same(read_record(tmp_path / f"{name}-{rank}.npz"), expected), name
