"""The grid: which settings share a run, and what a change of one value changes."""

from __future__ import annotations

import pytest
import yaml

from ssar.errors import UserError
from ssar.grid import Grid, build
from ssar.project import CONFIG
from ssar.targets import Targets

SETTING = "ucf101.videossl-20"


@pytest.fixture
def make(tmp_path):
    """Builds the grid of config.yaml with an overlay."""

    def overlay(**values: object) -> Grid:
        file = tmp_path / "overlay.yaml"
        file.write_text(yaml.safe_dump(values))
        return build([CONFIG / "config.yaml", file])

    return overlay


def ids(grid: Grid, variant: str, setting: str = SETTING) -> set[str]:
    return {run.id for run in grid.select("ltg", variant, setting)}


def test_equal_settings_share_runs(make):
    grid = make()
    targets = Targets(grid)
    # LTG's full model is a row of Table 1, of Table 2 and of Table 3g
    shared = (
        set(targets.table_inputs("table1")) & set(targets.table_inputs("table2")) & set(targets.table_inputs("table3g"))
    )
    assert len(shared) >= len(grid.project.seeds)
    assert len(ids(grid, "ltg")) == len(grid.project.seeds)


def test_one_changed_value_changes_exactly_the_runs_that_have_it(make):
    before, after = make(), make(overrides={"no-stopgrad": {"optim.lr": 0.123}})
    changed = {run for run in before.runs if run not in after.runs}
    assert changed == {
        run
        for _, variant, setting in before.selected()
        if variant == "no-stopgrad"
        for run in ids(before, variant, setting)
    }


def test_retitling_and_reordering_change_no_run(make):
    before = make()
    assert set(make(note="another footnote", seeds=list(reversed(before.project.seeds))).runs) == set(before.runs)


def test_a_seed_is_a_draw_for_drawn_protocols_only(make):
    drawn = make(settings={SETTING: {"dataset": "synthact", "labels": "percent-10"}})
    assert {run.config.labels.draw for run in drawn.runs.values()} == set(drawn.project.seeds)
    assert {run.config.labels.draw for run in make().select("ltg", "ltg", SETTING)} == {0}


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"sedes": [0]}, "overlay.yaml, line 1, key `sedes`: unknown key; did you mean `seeds`?"),
        ({"overrides": {"ltg": {"options.treshold": 1}}}, "did you mean `threshold`"),
        ({"overrides": {"lgt": {"seed": 1}}}, "did you mean `ltg`"),
        (
            {"overrides": {"ltg": {"options.blocks": [4, 5]}}},
            "block 5 cannot be aligned, the backbone has blocks 1 to 4",
        ),
        ({"datasets": {"ucf101": {"tg_source": "none"}}}, "reads temporal gradients and ucf101 offers none"),
        (
            {"settings": {SETTING: {"dataset": "synthact", "labels": "per-class-1000"}}},
            "more labels than videos",
        ),
        ({"settings": {SETTING: {"dataset": "ucf101", "labels": "videossl-21"}}}, "has no such protocol; it has"),
        ({"settings": {SETTING: {"dataset": "ucf1", "labels": "all"}}}, "unknown dataset `ucf1`"),
        ({"papers": ["ltg", "nonsense"]}, "no folder"),
    ],
)
def test_mistakes_are_refused_before_any_job(make, overlay, message):
    with pytest.raises(UserError) as caught:
        make(**overlay)
    assert message in str(caught.value)


def test_every_declared_target_resolves_at_paper_scale_and_in_the_demo():
    for files in ([CONFIG / "config.yaml"], [CONFIG / "config.yaml", CONFIG / "demo.yaml"]):
        grid = build(files)
        targets = Targets(grid)
        assert all(path.startswith(grid.project.results) for path in targets.default())
        for paper in grid.papers.values():
            for variant in paper.experiments:
                assert len(targets.ablation(paper.name, variant)) == len(grid.project.seeds)
            for table in paper.tables:
                targets.table_inputs(f"{paper.name}/{table}")
            for figure in paper.figures:
                assert targets.figure_inputs(f"{paper.name}/{figure}")
