"""Figures of measured values: what is drawn is what the files say, for any seeds and classes, and nothing is cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import ValidationError
from test_figures import run_config, spec
from tests.videos import moving_frames, write_video

from ssar.conditions import RESAMPLINGS
from ssar.config import canonical
from ssar.errors import UserError
from ssar.evaluation.predictions import Predictions, write_predictions
from ssar.evaluation.pseudo_labels import Record, accuracy_on, correct_ratio
from ssar.evaluation.scores import Similarity, write_scores
from ssar.reporting.figures import (
    bars,
    class_gap,
    curve,
    gain,
    lookalikes,
    measured,
    pseudo_labels,
    resampling,
    similarity,
)
from ssar.reporting.figures.inputs import FigureInputs
from ssar.reporting.figures.marks import PUBLISHED, SEEDS
from ssar.reporting.figures.style import POINTS, footnote, paper_style
from ssar.reporting.sources import Source
from ssar.yamlfile import read_yaml

SEEDS_TRIED = (1, 3)
NAMES = ["ApplyEyeMakeup", "HighJump", "LongJump", "Nunchucks", "TaiChi", "oscillate-horizontally"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes of three videos each that are unlabelled or tested, all links to two short ones, and their split."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        write_video(folder / f"{number}.avi", moving_frames(20 + 20 * number, seed=number))
    lines = []
    for number in range(36):
        path, kind = f"v{number:02}.avi", number % 2
        (folder / path).symlink_to(folder / f"{kind}.avi")
        label = number // 6
        flags = {"labelled": 0, "unlabelled": int(number % 6 < 3), "test": int(number % 6 >= 3)}
        lines.append(
            {"path": path, "label": label, "class": NAMES[label], "group": "", "frames": 20 + 20 * kind} | flags
        )
    pd.DataFrame(lines).to_csv(folder / "split.csv", index=False)
    return folder


class Toy:
    """Writes what a figure reads and draws it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.files: dict[Source, list[Path]] = {}

    def path(self, variant: str, role: str, suffix: str, condition: str = "") -> Path:
        source = Source(variant, "toy.all", role, condition)  # type: ignore[arg-type]
        listed = self.files.setdefault(source, [])
        listed.append(self.folder / f"{variant}-{role}-{condition}-{len(listed)}.{suffix}")
        return listed[-1]

    def metrics(self, variant: str, top1: float, condition: str = "", per_class: dict[str, Any] | None = None) -> None:
        config = json.loads(canonical(run_config()))
        content = {"config": config, "top1": top1, "per_class": per_class or {"a": top1}}
        self.path(variant, "metrics", "json", condition).write_text(json.dumps(content))

    def classes(self, variant: str, values: np.ndarray, names: list[str] | None = None) -> None:
        """Accuracy per class (seeds, K); NaN is written as null."""
        for line in values:
            found = {
                name: None if np.isnan(v) else float(v)
                for name, v in zip(names or _names(len(line)), line, strict=True)
            }
            self.metrics(variant, float(np.nanmean(line)) if np.isfinite(line).any() else 0.0, per_class=found)

    def record(self, variant: str, **values: Any) -> Record:
        record = Record(**values)
        with open(self.path(variant, "record", "npz"), "wb") as file:
            np.savez(file, **{**vars(record), "networks": np.array(record.networks)})
        return record

    def predictions(
        self, variant: str, scores: np.ndarray, views: str = "1x1-logits", names: list[str] | None = None
    ) -> Path:
        """Of the split's test videos: (18, 6)."""
        table = pd.read_csv(self.root / "split.csv")
        table = table[table["test"] == 1]
        path = self.path(variant, "predictions", "npz")
        paths, labels = table["path"].to_numpy(str), table["label"].to_numpy()
        features = np.zeros((len(table), 2), np.float16)
        write_predictions(path, Predictions(paths, labels, scores, features, names or NAMES, views, "{}", ""))
        return path

    def inputs(self, kind: str, **options: Any) -> FigureInputs:
        return FigureInputs(spec(kind, **options), self.root, self.root / "split.csv", self.files)

    def draw(self, module: Any, **options: Any) -> Figure:
        with paper_style():
            figure: Figure = module.draw(self.inputs(module.__name__.rpartition(".")[2], **options))
        return figure


@pytest.fixture
def toy(tmp_path: Path, root: Path) -> Toy:
    return Toy(tmp_path, root)


def _names(count: int) -> list[str]:
    return [f"{NAMES[number % 6]}{number}" for number in range(count)]


def texts(figure: Figure) -> list[Any]:
    return [text for text in figure.findobj(lambda part: hasattr(part, "get_fontsize")) if text.get_text()]


def marked(figure: Figure, gid: str) -> list[Any]:
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == gid]


def bar_heights(figure: Figure) -> list[float]:
    return [patch.get_height() for c in figure.axes[0].containers if isinstance(c, BarContainer) for patch in c]


# --- values over seeds ----------------------------------------------------------------------------


def test_a_bar_is_the_seeds_mean_and_a_published_value_is_a_mark(toy: Toy) -> None:
    values = {"base": [10.0, 20.0, 60.0], "ours": [50.0, 51.0, 55.0]}
    for variant, found in values.items():
        for value in found:
            toy.metrics(variant, value)
    figure = toy.draw(bars, published=[None, 76.1], published_in="Table 1")
    assert bar_heights(figure) == pytest.approx([30, 52])
    drawn = [c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)]
    for container, found in zip(drawn, values.values(), strict=True):
        low, high = container.lines[2][0].get_segments()[0][:, 1]
        assert (low + high) / 2 == pytest.approx(np.mean(found))
        assert high - low == pytest.approx(2 * np.std(found, ddof=1))
    assert [line.get_ydata().tolist() for line in marked(figure, SEEDS)] == list(values.values())
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marked(figure, PUBLISHED)] == [(1, 76.1)]
    said = "\n".join(text.get_text() for text in texts(figure))
    assert "30.0 ± 26.5" in said
    assert "(76.1)" in said
    assert "published (Table 1)" in said
    assert "standard deviation of 3 seeds" in said


def test_one_seed_has_no_spread(toy: Toy) -> None:
    toy.metrics("base", 10)
    toy.metrics("ours", 20)
    for module, options in ((bars, {}), (curve, {"x": [1, 2], "x_label": "x"})):
        figure = toy.draw(module, **options)
        assert not marked(figure, SEEDS)
        assert not [c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)]
        assert any(text.get_text() == "1 seed" for text in texts(figure))
        assert not any("±" in text.get_text() for text in texts(figure))


def test_a_curve_lies_at_its_numbers(toy: Toy) -> None:
    for variant, found in {"base": [10, 14], "ours": [20, 26]}.items():
        for value in found:
            toy.metrics(variant, value)
    figure = toy.draw(curve, x=[0.5, 0.95], x_label="threshold", published=[None, 12.9], published_in="Table 6")
    (line,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert line.get_xydata().tolist() == [[0.5, 12], [0.95, 23]]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.5", "0.95"]
    assert marked(figure, PUBLISHED)[0].get_xydata().tolist() == [[0.95, 12.9]]


# --- classes --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 12), st.none() | st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_gaps_are_sorted_and_lose_no_class(seeds: int, count: int, extreme: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = 10 * rng.integers(0, 4, (2, seeds, count)).astype(float)
    found[:, :, rng.random(count) < 0.2] = np.nan
    declared = spec("class_gap", extreme=extreme)
    pair = [measured.ClassAccuracy(_names(count), values) for values in found]
    expected = (found[0] - found[1]).mean(axis=0)
    known = np.isfinite(expected)
    inputs = FigureInputs(declared, Path(), Path(), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_gap, "of_same_classes", lambda *_: pair)
        if not known.any():
            with pytest.raises(UserError, match="has test videos"):
                class_gap.gaps(inputs)
            return
        gaps = class_gap.gaps(inputs)
    assert (np.diff(gaps.mean) <= 0).all()
    assert gaps.absent == count - known.sum()
    assert gaps.ahead == ((expected > 0).sum(), (expected < 0).sum(), (expected == 0).sum())
    ordered = np.sort(expected[known])[::-1]
    if extreme is not None and 2 * extreme < known.sum():
        ordered = np.concatenate([ordered[:extreme], ordered[-extreme:]])
    assert gaps.mean == pytest.approx(ordered)
    assert np.isfinite(gaps.std).all() == (seeds > 1)


def test_gaps_are_drawn_as_they_are(toy: Toy) -> None:
    toy.classes("base", np.array([[10, 50, np.nan, 30], [20, 50, np.nan, 50]], float))
    toy.classes("ours", np.array([[30, 20, np.nan, 30], [50, 40, np.nan, 50]], float))
    figure = toy.draw(class_gap, labels=["small", "large"])
    assert bar_heights(figure) == pytest.approx([20, 0, -25])  # the second less the first would be 25, 0, -20
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "High Jump1",
        "Nunchucks3",
        "Apply Eye Makeup0",
    ]
    said = "\n".join(text.get_text() for text in texts(figure))
    assert "small is better in 1 classes, large in 1, equal in 1" in said
    assert "3 classes, sorted; 1 without test videos left out" in said


def test_networks_of_other_classes_are_not_compared(toy: Toy) -> None:
    toy.classes("base", np.zeros((1, 3)))
    toy.classes("ours", np.zeros((1, 4)))
    with pytest.raises(UserError, match="base and ours differ in their classes"):
        toy.draw(class_gap)
    toy.classes("ours", np.zeros((1, 3)))
    with pytest.raises(UserError, match="of other classes than the seeds before it"):
        toy.draw(class_gap)


def test_bins_hold_the_classes_of_their_accuracy(toy: Toy) -> None:
    rng = np.random.default_rng(0)
    ours, base, auxiliary = (100 * rng.integers(0, 21, (3, 2, 40)) / 20).astype(float)
    ours[:, 7] = base[:, 7] = auxiliary[:, 7] = np.nan
    auxiliary[:, 3] = 100
    for variant, values in {"ours": ours, "base": base, "aux": auxiliary}.items():
        toy.classes(variant, values)
    inputs = toy.inputs("gain", variants=["ours", "base", "aux"])
    found = gain.points(inputs)
    accuracy, gains = np.delete(auxiliary.mean(axis=0), 7), np.delete((ours - base).mean(axis=0), 7)
    expected = []
    for low in range(0, 100, 5):
        inside = (accuracy >= low) & ((accuracy < low + 5) | ((low == 95) & (accuracy == 100)))
        if inside.any():
            each = np.delete(ours - base, 7, axis=1)[:, inside].mean(axis=1)
            expected.append((accuracy[inside].mean(), gains[inside].mean(), each.std(ddof=1)))
    assert np.stack([found.at, found.mean, found.std], axis=1) == pytest.approx(np.array(expected))
    slope, height, r = gain.line(found) or (0, 0, 0)
    assert r == pytest.approx(np.corrcoef(accuracy, gains)[0, 1])
    assert (slope, height) == pytest.approx(tuple(np.polyfit(accuracy, gains, 1)))
    figure = toy.draw(gain, variants=["ours", "base", "aux"])
    assert marked(figure, gain.LINE)[0].get_ydata() == pytest.approx(slope * np.array([accuracy.min(), 100]) + height)
    assert marked(figure, gain.CLASS)[0].get_ydata() == pytest.approx(gains)
    assert any(f"r = {r:.2f}, n = 39".replace("-", "−") in text.get_text() for text in texts(figure))


def test_without_a_range_there_is_no_line(toy: Toy) -> None:
    for variant, value in (("ours", [30.0, 50.0]), ("base", [10.0, 10.0]), ("aux", [40.0, 40.0])):
        toy.classes(variant, np.array([value]))
    figure = toy.draw(gain, variants=["ours", "base", "aux"])
    assert not marked(figure, gain.LINE)
    assert figure.axes[0].get_title() == "r is not defined, n = 2"


# --- pseudo-labels --------------------------------------------------------------------------------


def recorded(toy: Toy, variant: str, networks: tuple[str, ...], seeds: int, confident: float = 1.0) -> list[Record]:
    """Records and metrics of seeds, with the threshold 0.3 of `run_config`."""
    found = []
    for seed in range(seeds):
        toy.metrics(variant, 10)
        rng = np.random.default_rng((seed, len(networks)))
        shape = (3, len(networks), 30)
        label = rng.integers(0, 3, shape).astype(np.int16)
        confidence = (confident * rng.random(shape)).astype(np.float32)
        paths, truth = np.array([f"{number}.avi" for number in range(30)]), np.arange(30) % 3
        epochs = np.array([10.0, 20.0, 25.0])
        found.append(
            toy.record(
                variant, paths=paths, epochs=epochs, networks=networks, label=label, confidence=confidence, truth=truth
            )
        )
    return found


@pytest.mark.parametrize("seeds", SEEDS_TRIED)
def test_the_ratio_has_each_runs_own_network_and_threshold(toy: Toy, seeds: int) -> None:
    ours = recorded(toy, "ours", ("predictor", "auxiliary"), seeds)
    base = recorded(toy, "base", ("predictor",), seeds)
    figure = toy.draw(pseudo_labels, networks=["predictor", "auxiliary"], labels=["B", "O"])
    for name, records, network in (("B", base, "predictor"), ("O", ours, "auxiliary")):
        (line,) = marked(figure, name)
        values = np.mean([correct_ratio(record, network, 0.3) for record in records], axis=0)
        assert line.get_xdata().tolist() == [10, 20, 25]
        assert line.get_ydata() == pytest.approx(100 * values)


def test_accuracy_on_the_videos_that_another_network_chooses(toy: Toy) -> None:
    ours = recorded(toy, "ours", ("predictor", "auxiliary"), 2)
    base = recorded(toy, "base", ("predictor",), 2)
    figure = toy.draw(
        pseudo_labels,
        variants=["ours", "ours", "base"],
        networks=["auxiliary", "predictor", "predictor"],
        labels=["A", "P", "F"],
        chosen_by=1,
    )
    for name, records, network in (("A", ours, "auxiliary"), ("P", ours, "predictor"), ("F", base, "predictor")):
        values = [accuracy_on(one, network, "auxiliary", 0.3, other) for one, other in zip(records, ours, strict=True)]
        assert marked(figure, name)[0].get_ydata() == pytest.approx(100 * np.mean(values, axis=0))


def test_no_confident_label_leaves_a_gap(toy: Toy) -> None:
    recorded(toy, "ours", ("predictor",), 2, confident=0.1)
    options = {"variants": ["ours"], "networks": ["predictor"], "labels": ["O"]}
    figure = toy.draw(pseudo_labels, **options, chosen_by=1)
    assert np.isnan(marked(figure, "O")[0].get_ydata()).all()
    assert figure.axes[0].get_ylim() == (0, 100)
    assert marked(toy.draw(pseudo_labels, **options), "O")[0].get_ydata().tolist() == [0, 0, 0]


def test_a_method_without_a_threshold_has_no_confident_labels(toy: Toy) -> None:
    recorded(toy, "ours", ("predictor",), 1)
    path = toy.files[Source("ours", "toy.all", "metrics")][0]
    content = json.loads(path.read_text())
    content["config"] |= {"method": "supervised", "options": {}}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="has no `threshold`"):
        toy.draw(pseudo_labels, variants=["ours"], networks=["predictor"])


# --- frames ---------------------------------------------------------------------------------------


def test_a_drop_is_a_share_of_the_accuracy_with_all_frames(toy: Toy) -> None:
    accuracy = {"": [40, 0, 50], "every2": [30, 0, 50], "every4": [20, 0, 55], "every8": [10, 0, 0]}
    for variant in ("base", "ours"):
        for condition, values in accuracy.items():
            for value in values:
                toy.metrics(variant, value, condition)
    figure = toy.draw(resampling)
    axes = figure.axes[-1]
    container = axes.containers[0]
    assert container.lines[0].get_ydata() == pytest.approx(np.mean([[0, 25, 50, 75], [0, 0, -10, 100]], axis=0))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "2", "1", "1"]  # clips of 4 frames
    pictures = [one.images[0] for one in figure.axes[:-1]]
    assert len(pictures) == 4 * 4
    rows = np.array([[one.get_alpha() == 1 for one in pictures[4 * row : 4 * row + 4]] for row in range(4)])
    assert rows.sum(axis=1).tolist() == [4, 2, 1, 1]
    assert (pictures[5].get_array() == pictures[4].get_array()).all()  # held


def test_without_an_accuracy_there_is_no_drop(toy: Toy) -> None:
    for condition in ("", *RESAMPLINGS):
        toy.metrics("base", 0, condition)
    with pytest.raises(UserError, match="no accuracy to lose"):
        toy.draw(resampling, variants=["base"])


def scores(toy: Toy, values: dict[str, float], frames: int = 4) -> None:
    """Scores of videos by two teachers, n = 3 clips; the matrices have them outside the diagonal."""
    config = json.loads(canonical(run_config()))
    config["clip"] = {"frames": frames, "stride": 2}
    matrices = np.array([[np.full((3, 3), value)] * 2 for value in values.values()], np.float32)
    matrices[..., np.arange(3), np.arange(3)] = 1
    found = np.array(list(values.values()), np.float32)
    paths = np.array(list(values))
    write_scores(
        toy.path("base", "scores", "npz"), Similarity(paths, matrices, matrices, found, found, [json.dumps(config)] * 2)
    )


def test_the_videos_of_the_extreme_scores_are_shown(toy: Toy) -> None:
    # v00 and v02 have 20 frames, too few for 3 clips of 8; v03 is a test video
    scores(toy, {"v00.avi": 1.0, "v01.avi": 0.5, "v02.avi": 0.1, "v03.avi": 0.9, "v07.avi": 0.25, "v13.avi": 0.75})
    figure = toy.draw(similarity, variants=["base"])
    said = [text.get_text() for text in texts(figure)]
    assert [text for text in said if text.startswith("s = ")] == ["s = 0.75", "s = 0.25"]
    assert {"High Jump", "Long Jump"} <= set(said)
    assert "of 3 videos" in " ".join(said)
    assert np.allclose(figure.axes[1].images[0].get_array()[0], [1, 0.75, 0.75])
    many, _ = similarity.extremes(toy.inputs("similarity", variants=["base"], videos=5))
    assert [one.score for one in many] == [0.75, 0.25]  # no video is at both ends


def test_where_all_videos_are_short_they_are_shown(toy: Toy) -> None:
    scores(toy, {"v00.avi": 1.0, "v02.avi": 0.5}, frames=40)
    found, count = similarity.extremes(toy.inputs("similarity", variants=["base"]))
    assert ([one.score for one in found], count) == ([1, 0.5], 2)


def test_scores_of_other_videos_are_refused(toy: Toy) -> None:
    scores(toy, {"other.avi": 1.0})
    with pytest.raises(UserError, match="no unlabelled video of"):
        toy.draw(similarity, variants=["base"])


PAIRS = [["Nunchucks", "TaiChi"], ["HighJump", "LongJump"]]


def logits(seed: int, right: float = 0.0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(18, 6)).astype(np.float32)
    found[np.arange(18), np.arange(18) // 3] += right
    return found


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows.astype(float))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seeds", SEEDS_TRIED)
def test_probabilities_of_the_drawn_video_and_of_its_class(toy: Toy, seeds: int) -> None:
    rows: dict[str, list[np.ndarray]] = {"base": [], "ours": []}
    for seed in range(seeds):
        base, ours = logits(seed), softmax(logits(10 + seed, 2.0))
        toy.predictions("base", base)
        toy.predictions("ours", ours, "1x1-probs")
        rows["base"].append(softmax(base))
        rows["ours"].append(ours)
    figure = toy.draw(lookalikes, pairs=PAIRS)
    for block, label in enumerate((3, 1)):
        frame, *panels = figure.axes[3 * block : 3 * block + 3]
        assert frame.images
        for axes, found in zip(panels, rows.values(), strict=True):
            mean = 100 * np.mean(found, axis=0)
            shown = [tick.get_text().replace(" ", "") for tick in axes.get_yticklabels()]
            classes = [[name.replace("-", "") for name in NAMES].index(name) for name in shown]
            assert classes[:2] == [NAMES.index(name) for name in PAIRS[block]]
            widths = [patch.get_width() for patch in axes.containers[0]]
            candidates = mean[3 * label : 3 * label + 3][:, classes]
            assert any(np.allclose(widths, one) for one in candidates)
            (diamonds,) = [line for line in axes.lines if line.get_gid() == "mean"]
            assert diamonds.get_xdata() == pytest.approx(candidates.mean(axis=0))


def test_the_video_does_not_depend_on_what_is_predicted(toy: Toy) -> None:
    for right in (0.0, 9.0):
        toy.predictions("base", logits(0, right))
    inputs = toy.inputs("lookalikes", variants=["base"], pairs=PAIRS)
    found = lookalikes.read(inputs)["base"]
    videos = {lookalikes.draw_video(inputs, one, 3) for one in found}
    assert len(videos) == 1
    assert found[0].labels[videos.pop()] == 3
    others = {lookalikes.draw_video(toy.inputs("lookalikes", pairs=PAIRS, seed=n), found[0], 3) for n in range(20)}
    assert others == {9, 10, 11}


def test_the_most_confused_pairs_stand_for_classes_that_are_not_there(toy: Toy) -> None:
    certain = np.eye(6, dtype=np.float32)[np.repeat(np.arange(6), 3)]
    certain[[6, 7]] = np.eye(6)[5]  # two of the class 2 go to 5
    certain[12] = np.eye(6)[0]  # one of the class 4 goes to 0
    names = [f"other {number}" for number in range(6)]
    toy.predictions("base", certain, names=names)
    inputs = toy.inputs("lookalikes", variants=["base"], pairs=PAIRS)
    shown, absent = lookalikes.pairs(inputs, lookalikes.read(inputs)["base"])
    assert shown == [(2, 5), (4, 0)]
    assert absent == ["Nunchucks", "TaiChi", "HighJump", "LongJump"]
    said = " ".join(text.get_text() for text in texts(toy.draw(lookalikes, variants=["base"], pairs=PAIRS)))
    assert "the dataset lacks Nunchucks, TaiChi, HighJump, LongJump" in said.replace("\n", " ")
    toy.files.clear()
    toy.predictions("base", np.eye(6, dtype=np.float32)[np.repeat(np.arange(6), 3)], names=names)
    with pytest.raises(UserError, match="takes no test video for another class"):
        toy.draw(lookalikes, variants=["base"], pairs=PAIRS)


# --- all kinds ------------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "bars": {"published": [10, None], "published_in": "Table 1"},
    "curve": {"x": [1, 2], "x_label": "x"},
    "class_gap": {},
    "gain": {"variants": ["base", "ours", "aux"]},
    "pseudo_labels": {"networks": ["predictor", "predictor"], "chosen_by": 1},
    "resampling": {},
    "similarity": {"variants": ["base"]},
    "lookalikes": {"pairs": PAIRS},
}
MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (bars, curve, class_gap, gain, pseudo_labels, resampling, similarity, lookalikes)
}


def fill(toy: Toy, kind: str, seeds: int, classes: int = 6) -> None:
    """Write everything that a figure of a kind reads."""
    rng = np.random.default_rng(0)
    for variant in ("base", "ours", "aux"):
        if kind == "pseudo_labels":
            recorded(toy, variant, ("predictor",), seeds)
            continue
        toy.classes(variant, 100 * rng.random((seeds, classes)))
        for seed in range(seeds):
            toy.predictions(variant, logits(seed))
            for condition in RESAMPLINGS:
                toy.metrics(variant, 10 + 10 * seed, condition)
    scores(toy, {"v01.avi": 0.5, "v07.avi": -0.25, "v13.avi": 0.75})


@pytest.mark.parametrize("seeds", SEEDS_TRIED)
@pytest.mark.parametrize("kind", OPTIONS)
def test_all_text_is_inside_and_legible(toy: Toy, kind: str, seeds: int) -> None:
    fill(toy, kind, seeds)
    figure = toy.draw(MODULES[kind], **OPTIONS[kind])
    inside(figure)


@pytest.mark.parametrize("kind", ["class_gap", "gain"])
def test_four_hundred_classes_fit(toy: Toy, kind: str) -> None:
    fill(toy, kind, 2, classes=400)
    figure = toy.draw(MODULES[kind], **OPTIONS[kind])
    inside(figure)
    if kind == "class_gap":
        heights = bar_heights(figure)
        assert len(heights) == 400
        label = figure.axes[0].get_xlabel()
        assert f"{max(heights):+.1f}" in label
        assert f"{min(heights):+.1f}".replace("-", "−") in label


def inside(figure: Figure) -> None:
    """No text is below the smallest size or runs out of the figure, also with a note below it."""
    drawn = []
    draw = Text.draw

    def noted(text: Text, renderer: Any) -> None:
        draw(text, renderer)
        if text.get_text():
            drawn.append((text.get_text(), text.get_fontsize(), text.get_window_extent(renderer)))

    with paper_style(), pytest.MonkeyPatch.context() as patch:
        footnote(figure, "A note. " * 20)
        canvas = FigureCanvasAgg(figure)
        patch.setattr(Text, "draw", noted)
        canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    assert len(drawn) > 5
    for text, size, box in drawn:
        assert size >= POINTS
        within = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert within, f"{text!r} runs out of the figure: {box}"


@pytest.mark.parametrize("kind", OPTIONS)
def test_files_that_are_missing_or_damaged_are_told(toy: Toy, kind: str) -> None:
    fill(toy, kind, 2)
    module, options = MODULES[kind], OPTIONS[kind]
    for source in toy.inputs(kind, **options).spec.sources():
        path = toy.files[source][-1]
        whole = path.read_bytes()
        for damage in (None, whole[: len(whole) // 2], b"{}"):
            path.unlink(missing_ok=True)
            if damage is not None:
                path.write_bytes(damage)
            with pytest.raises(UserError):
                toy.draw(module, **options)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bars", {"published": [1]}, "1 published values for 2 variants"),
        ("bars", {"published": [1, 2]}, "`published` needs `published_in`"),
        ("curve", {"x": [1], "x_label": ""}, "1 values in `x` for 2 variants"),
        ("curve", {"x": [2, 1], "x_label": ""}, "`x` does not rise"),
        ("gain", {}, "a figure of kind gain compares 3 variants, not 2"),
        ("pseudo_labels", {"networks": ["predictor"]}, "1 networks for 2 variants"),
        ("pseudo_labels", {"networks": ["a", "b"], "chosen_by": 3}, "`chosen_by` is 3, there are 2 lines"),
    ],
)
def test_figures_that_do_not_add_up_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(kind, **options)


def test_a_figure_names_everything_that_it_reads() -> None:
    found = {(source.variant, source.role, source.condition) for source in spec("resampling").sources()}
    conditions = ("", "every2", "every4", "every8")
    assert found == {(variant, "metrics", c) for variant in ("base", "ours") for c in conditions}
    found = {(s.variant, s.role, s.condition) for s in spec("pseudo_labels", networks=["a", "b"]).sources()}
    assert found == {(variant, role, "") for variant in ("base", "ours") for role in ("record", "metrics")}


def test_variants_that_are_one_run_are_told(toy: Toy) -> None:
    for variant in ("base", "ours", "aux"):
        toy.metrics(variant, 10)
    paths = toy.files[Source("base", "toy.all", "metrics")]
    assert toy.inputs("bars").shared is None
    toy.files[Source("aux", "toy.all", "metrics")] = list(paths)
    assert toy.inputs("bars").shared == "At this scale these are the same runs: base, aux."


def test_published_values_are_those_of_the_papers_tables() -> None:
    """A figure's published value stands in a table of its paper, for the same variant and setting."""
    papers = Path(__file__).parents[2] / "config" / "papers"
    checked = 0
    for folder in papers.iterdir():
        printed = set()
        for table in read_yaml(folder / "tables.yaml").values():
            for row in table["rows"]:
                for column, value in zip(table["columns"], row.get("published", ()), strict=False):
                    if column.get("metric", "top1") == "top1" and not column.get("condition"):
                        printed.add((row.get("variant"), column.get("setting"), value))
        for name, figure in read_yaml(folder / "figures.yaml").items():
            for variant, value in zip(figure["variants"], figure.get("published", ()), strict=False):
                if value is not None:
                    assert (variant, figure["setting"], value) in printed, f"{folder.name}/{name}"
                    checked += 1
    assert checked >= 8
