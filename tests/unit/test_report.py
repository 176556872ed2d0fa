"""The report without a browser: thinned curves, differences, what is asked for, what is missing, what is escaped."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from docutils.core import publish_doctree
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined
from PIL import Image
from tests.browser import tree

from ssar.errors import UserError
from ssar.reporting.html import asked
from ssar.reporting.html.claims import page_claims
from ssar.reporting.html.curves import panels, read_curve, thin
from ssar.reporting.html.data import collect
from ssar.reporting.html.packed import packed, unpacked
from ssar.reporting.html.pictures import WIDTH, picture
from ssar.reporting.html.render import duration, label, render, size
from ssar.reporting.html.tables import page_cell, signed
from ssar.reporting.results import Cell
from ssar.reporting.spec import Column
from ssar.reporting.values import shown

ROOT = Path(tree.__file__).parents[2]
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
numbers = st.none() | st.floats(-1e6, 1e6)


# --- curves ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(numbers, max_size=60), st.integers(1, 70))
def test_a_thinned_curve_keeps_ends_means_and_gaps(values, limit):
    curve = {"step": [float(step) for step in range(1, len(values) + 1)], "loss": values}
    found = thin(curve, limit)
    assert len(found["loss"]) == len(found["step"]) <= limit
    size = math.ceil(len(values) / limit) if values else 1
    assert found["step"] == [min(end, len(values)) for end in range(size, len(values) + size, size)]
    for place, point in enumerate(found["loss"]):
        there = [value for value in values[place * size : (place + 1) * size] if value is not None]
        assert (point is None) == (not there)
        if there:
            assert point == pytest.approx(np.mean(there), rel=1e-3, abs=1e-300 + 1e-3 * np.abs(there).max())


def test_curves_of_a_thousand_runs_stay_below_twenty_megabytes():
    rng = np.random.default_rng(0)
    noise = {"step": [float(step) for step in range(5000)]} | {
        f"column{number}": rng.normal(size=5000).tolist() for number in range(16)
    }
    assert 1000 * len(packed(thin(noise))) < 20e6


def test_what_a_csv_lacks_is_no_value(tmp_path):
    path = tmp_path / "curves.csv"
    assert read_curve(path) is None
    path.write_text("step,loss,late\n10,2.5,\n20,nan,1\n")
    assert read_curve(path) == {"step": [10, 20], "loss": [2.5, None], "late": [None, 1]}
    path.write_text("step,loss\n")
    assert read_curve(path) == {}
    path.write_text("step,loss\n10,two\n")
    with pytest.raises(UserError, match=r"curves\.csv is damaged"):
        read_curve(path)


def test_each_column_has_its_chart():
    statistics = ("labelled_accuracy", "pseudo_rate", "teacher_accuracy", "score", "clips_per_second")
    names = ("step", "epoch", "lr", "loss", "labelled", "contrast", "gradient_norm", *statistics)
    assert panels(names) == {
        "lr": "other",
        "loss": "loss",
        "labelled": "loss",
        "contrast": "loss",
        "gradient_norm": "other",
        "labelled_accuracy": "accuracy",
        "pseudo_rate": "pseudo",
        "teacher_accuracy": "pseudo",
        "score": "other",
        "clips_per_second": "speed",
    }


# --- cells ----------------------------------------------------------------------------------------


def cell(values, published, wanted=2, **column):
    made = Cell("top1", published, wanted, tuple(values), tuple({"run": str(value)} for value in values))
    declared = Column(key="a", header=("A",), setting="a.all", **column)
    return page_cell(made, shown(made, declared, 1, trained=True), declared, best=False)


def test_a_difference_is_measured_minus_published():
    found = cell([50.0, 52.0], 55.5)
    assert (found["measured"], found["spread"], found["published"]) == ("51.0", "1.4", "(55.5)")
    assert (found["difference"], found["strength"]) == ("−4.5", -0.45)
    assert cell([90.0], 55)["strength"] == 1  # the colour does not deepen without end


@pytest.mark.parametrize(
    ("values", "published", "wanted"), [([], 55.5, 2), ([50.0], None, 1), ([], 55.5, 0), ([None], 1.0, 1)]
)
def test_without_both_numbers_there_is_no_difference(values, published, wanted):
    found = cell(values, published, wanted)
    assert found["difference"] is None
    assert values or not any(map(str.isdigit, found["measured"]))
    assert (found["measured"] == "not run") == (wanted > len(values))


def test_costs_have_a_difference_but_no_colour():
    found = cell([14.2e6], 14.4, 1, unit=1e6, decimals=2, spread=False)
    assert (found["difference"], found["strength"]) == ("−0.20", 0)


@settings(deadline=None)
@given(st.floats(-1000, 1000), st.integers(0, 3))
def test_a_sign_stands_before_all_but_nothing(value, decimals):
    text = signed(value, decimals)
    assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.5 * 10**-decimals + 1e-9)
    assert (text[0] in "+−") == (float(text.strip("+−")) != 0)


# --- files ----------------------------------------------------------------------------------------


def test_what_is_packed_comes_back_and_holds_no_markup():
    for value in ({"a": [1, None, tree.EVIL]}, []):
        assert json.loads(unpacked(packed(value))) == value
        assert not set("<>&\"'") & set(packed(value))
    assert packed("x") == packed("x")  # no time in it


def test_a_wide_figure_has_a_copy_for_the_page(tmp_path):
    path = tmp_path / "figure.png"
    assert picture(path) is None
    noise = np.random.default_rng(0).integers(0, 255, (40, 2 * WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    found = picture(path)
    assert (found["width"], found["height"], bool(found["full"])) == (WIDTH, 20, True)
    Image.fromarray(noise[:, :100]).save(path)
    assert (picture(path)["width"], picture(path)["full"]) == (100, "")
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"figure\.png is damaged"):
        picture(path)


def test_claims_that_the_csv_lacks_are_not_run(tmp_path):
    made = tree.targets(tmp_path)
    path = Path(made.paths.claims("ltg", "csv"))
    declared = made.grid.papers["ltg"].claims
    assert {claim["verdict"] for claim in page_claims(declared, path)} == {"not run"}
    tree.fill(made)
    verdicts = [claim["verdict"] for claim in page_claims(declared, path)]
    assert verdicts[:2] == ["confirmed", "undecided"]
    assert set(verdicts[2:]) == {"not run"}
    lines = list(csv.reader(path.open()))
    for column, value in (("verdict", "perhaps"), ("effect", "large")):
        broken = [line.copy() for line in lines]
        broken[1][lines[0].index(column)] = value
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(broken)
        with pytest.raises(UserError, match=r"ltg\.csv, line 2 is damaged"):
            page_claims(declared, path)


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The text, the ids and the scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0
        self.text: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.inside = tag
        self.scripts += tag == "script"
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        self.fetched += [values[key] for key in ("src", "srcset", "data") if key in values]
        self.fetched += [values["href"]] if tag == "link" else []

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text.append(data)


@pytest.fixture
def filled(tmp_path):
    made = tree.targets(tmp_path)
    tree.fill(made)
    return made


def test_the_page_holds_together(filled):
    page = Page(render(collect(filled), NOW))
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert all(url.startswith("data:") for url in page.fetched)
    # text of files adds no element: data, library, ours, a figure in full size, packed curves and details
    runs = asked.runs(filled)
    curves = [run for run in runs if Path(filled.paths.run(run, "curves.csv")).exists()]
    assert page.scripts == 3 + 1 + len(curves) + len(runs)
    assert tree.EVIL in "".join(page.text)


@pytest.mark.parametrize("note", [None, "Not comparable: a test."])
def test_numbers_of_another_scale_are_marked(tmp_path, note):
    text = render(collect(tree.targets(tmp_path, note=note)), NOW)
    assert ("These numbers are not comparable" in text) == bool(note)
    assert ('class="reminder"' in text) == bool(note)
    assert ('id="colour" autocomplete="off" checked>' in text) == (not note)


def test_with_nothing_run_there_is_a_page_without_numbers(tmp_path):
    made = tree.targets(tmp_path)
    found = collect(made)
    assert found["counts"] == {"not run": len(found["runs"])}
    assert found["curves"] == {}
    measured = {
        c["measured"]
        for table in found["papers"][0]["tables"]
        for row in table["rows"]
        for c in row["cells"]
        if c["runs"]
    }
    assert measured == {"not run"}
    assert "nothing run" in render(found, NOW)


def test_an_unfinished_run_is_told_from_one_that_never_began(tmp_path):
    made = tree.targets(tmp_path)
    first, *_ = asked.runs(made)
    Path(made.paths.state(first)).mkdir(parents=True)
    assert collect(made)["counts"] == {"unfinished": 1, "not run": len(asked.runs(made)) - 1}


def test_a_run_has_its_settings_metrics_time_and_memory(filled):
    run = filled.grid.select("ltg", "ltg", tree.SETTING)[1]
    found = next(line for line in collect(filled)["runs"] if line["id"] == run.id)
    assert (found["top1"], found["seconds"], found["host_bytes"], found["job_seconds"]) == (41.0, 3601.0, 2e9, 3612.5)
    sections = dict(json.loads(unpacked(found["details"])))
    assert "seed: 1" in sections["Settings that differ from the defaults"]
    assert "width: 0.25" in sections["All settings"]
    assert "max_rss: '1900.25'" in sections["Time and memory of the job (Snakemake's benchmark)"]
    metrics = next(text for title, text in sections.items() if title.startswith("Metrics"))
    assert "per_class" in metrics
    assert "confusion" not in metrics
    Path(filled.paths.benchmark("train_student", run.id)).write_text("s\n")
    with pytest.raises(UserError, match="is damaged"):
        collect(filled)


def test_only_what_is_asked_for_is_shown(filled):
    found = collect(filled)["papers"][0]
    assert [table["name"] for table in found["tables"]] == ["table1", "table3c"]
    assert [figure["name"] for figure in found["figures"]] == ["figure3", "figure5"]
    assert "table2" in found["left_out"]
    runs = set(asked.runs(filled))
    assert runs >= {run.id for run in filled.grid.select("ltg", "no-stopgrad", tree.SETTING)}
    assert runs < set(filled.grid.runs)


def test_names_times_and_sizes_read_well():
    assert [label(name) for name in ("table3c", "tablea2", "figure5-5", "baselines")] == [
        "Table 3c",
        "Table A2",
        "Figure 5-5",
        "baselines",
    ]
    assert [duration(seconds) for seconds in (0, 59.6, 720, 11100)] == ["0 s", "60 s", "12 min", "3 h 05 min"]
    assert [size(count) for count in (7e8, 1.44e9)] == ["700 MB", "1.4 GB"]


# --- captions of `snakemake --report` ---------------------------------------------------------------


@pytest.mark.parametrize("note", [None, "Not comparable: a test."])
@pytest.mark.parametrize("file", sorted((ROOT / "workflow" / "report").glob("*.rst")), ids=lambda file: file.stem)
def test_captions_are_filled_in_and_valid(file, note):
    config = {"papers": ["ltg"], "seeds": [0, 1], "results": "results/demo", "note": note}
    wildcards = SimpleNamespace(stem="ltg/table1", paper="ltg")
    job = SimpleNamespace(config=config, wildcards=wildcards)
    template = Environment(undefined=StrictUndefined).from_string(file.read_text(encoding="utf-8"))
    text = template.render(snakemake=job)
    publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2})
    assert (str(note) in text) == (note is not None and file.stem != "page")
