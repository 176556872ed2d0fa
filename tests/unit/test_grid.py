"""The grid: which settings share a run, and what a change of one value changes."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from ssar.checks import role_problems
from ssar.errors import UserError
from ssar.experiments import load_paper
from ssar.grid import Grid, build
from ssar.methods import options_class
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
        ({"seeds": [0, 1, 0]}, "key `seeds`: 0 given twice"),
        ({"seeds": [0, -1]}, "seeds are 0 or above, not -1"),
        ({"views": "10x3@large"}, "key `views`: views `10x3@large`: expected CLIPSxCROPS"),
        ({"results": " "}, "the name of a folder is needed"),
        ({"results": "$NOWHERE_AT_ALL/x"}, "an environment variable in it is not set"),
        (
            {"settings": {"ucf101.videossl-21": {"dataset": "synthact", "labels": "all"}}},
            "`settings.ucf101.videossl-21`: no paper has results in this setting; did you mean `ucf101.videossl-20`?",
        ),
        ({"datasets": {"unused": {"kind": "foldr"}}}, "key `datasets.unused.kind`: input should be 'synthact'"),
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
        ({"papers": ["cmpl", "acl-mtl"]}, "`ltg` is not among `papers`; `paper: cmpl` is one"),
    ],
)
def test_mistakes_are_refused_before_any_job(make, overlay, message):
    with pytest.raises(UserError) as caught:
        make(**overlay)
    assert message in str(caught.value)


def test_a_setting_of_a_paper_that_is_not_planned_is_no_mistake(make):
    grid = make(papers=["ltg"], settings={"ucf101.svformer-1": {"dataset": "synthact", "labels": "all"}})
    assert grid.runs == {}


@pytest.mark.parametrize("text", ["./runs//here/", "$RUNS/here", "~/here"])
def test_a_results_folder_is_named_as_its_targets_are(make, monkeypatch, text):
    monkeypatch.setenv("RUNS", "runs")
    monkeypatch.setenv("HOME", "runs")
    assert Targets(make(results=text)).default()[0].startswith("runs/here/tables/")


def test_every_declared_target_resolves_at_paper_scale_and_in_the_demo():
    for files in ([CONFIG / "config.yaml"], [CONFIG / "config.yaml", CONFIG / "demo.yaml"]):
        grid = build(files)
        targets = Targets(grid)
        assert all(path.startswith(grid.project.results) for path in targets.default())
        for paper in grid.papers.values():
            for variant, experiment in paper.experiments.items():
                if not options_class(experiment.method).needs_labelled:
                    continue
                assert len(targets.ablation(paper.name, variant)) == len(grid.project.seeds)
            for table in paper.tables:
                targets.table_inputs(f"{paper.name}/{table}")
            for figure in paper.figures:
                assert targets.figure_inputs(f"{paper.name}/{figure}")


# --- runs that need runs ----------------------------------------------------------------------------

BENCHMARK = {"papers": ["benchmark"], "paper": "benchmark", "targets": ["tables/benchmark.tex"], "overrides": {}}


def chain(grid: Grid) -> dict[str, str]:
    """The first run of every variant of the benchmark."""
    return {
        variant: grid.select("benchmark", variant, SETTING)[0].id for variant in grid.papers["benchmark"].experiments
    }


def test_a_run_names_the_runs_that_it_needs(make):
    grid = make(**BENCHMARK)
    for number, run in enumerate(grid.select("benchmark", "timebalance", SETTING)):
        roles = {"invariant": "teacher-invariant", "distinctive": "teacher-distinctive", "init": "ssl-student"}
        wanted = {role: grid.select("benchmark", variant, SETTING)[number].id for role, variant in roles.items()}
        assert run.config.upstream == wanted
    first = chain(grid)
    files = grid.upstream(grid.runs[first["timebalance"]].config)
    assert files["init"] == f"results/runs/{first['ssl-student']}/model.pt"
    assert files["scores"] == f"results/scores/{first['ssl-invariant']}+{first['ssl-distinctive']}/similarity.npz"
    targets = Targets(grid)
    assert set(targets.upstream(first["timebalance"])) == set(files.values())
    assert targets.upstream(first["fixmatch"]) == []


def test_a_change_of_a_teacher_changes_its_students_and_nobody_else(make):
    before, after = (
        chain(make(**BENCHMARK | {"overrides": overrides}))
        for overrides in ({}, {"teacher-invariant": {"optim.lr": 0.123}})
    )
    changed = {variant for variant in before if before[variant] != after[variant]}
    assert changed == {"teacher-invariant", "timebalance", "timebalance-average", "timebalance-scratch"}


def test_every_stage_is_trained_by_its_rule(make):
    grid = make(**BENCHMARK)
    targets = Targets(grid)
    for variant, run in chain(grid).items():
        stages = [
            stage
            for stage in ("pretrain_teacher", "finetune_teacher", "train_student")
            if re.fullmatch(targets.stage(stage), run)
        ]
        kind = {"ssl": "pretrain_teacher", "teacher": "finetune_teacher"}.get(
            variant.partition("-")[0], "train_student"
        )
        assert stages == ["finetune_teacher" if variant == "ssl-finetuned" else kind]


def test_pretraining_is_shared_by_all_label_protocols(make):
    settings = {SETTING: {"dataset": "synthact", "labels": "percent-10"}}
    ten, half = (
        chain(make(**BENCHMARK | {"settings": {SETTING: setting | {"labels": labels}}}))
        for setting, labels in ((settings[SETTING], "percent-10"), (settings[SETTING], "percent-50"))
    )
    same = {variant for variant in ten if ten[variant] == half[variant]}
    assert same == {"ssl-invariant", "ssl-distinctive", "ssl-student"}


def test_a_self_supervised_variant_has_nothing_to_evaluate(make):
    with pytest.raises(UserError, match="self-supervised"):
        Targets(make(**BENCHMARK)).ablation("benchmark", "ssl-invariant")


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"invariant": "a", "distinctive": "a"}, "needs another run as `invariant`"),
        ({"teacher": "a"}, "no such part"),
    ],
)
def test_missing_and_unknown_parts_are_told(make, needs, message):
    grid = make(**BENCHMARK)
    run = grid.runs[chain(grid)["timebalance" if "invariant" in needs else "fixmatch"]].config
    found = list(role_problems(run, {} if "invariant" in needs else needs))
    assert any(message in problem for problem in found)


@pytest.mark.parametrize(
    ("needs", "message"),
    [({"init": "nobody"}, "no variant `nobody`"), ({"init": "a"}, "a -> a"), ({"init": "b"}, "a -> b -> a")],
)
def test_variants_that_need_themselves_or_nobody_are_refused(tmp_path, monkeypatch, needs, message):
    folder = tmp_path / "papers" / "odd"
    folder.mkdir(parents=True)
    variants = {
        "a": {"method": "supervised", "about": "a", "needs": needs},
        "b": {"method": "supervised", "about": "b", "needs": {"init": "a"}},
    }
    values = {"paper": "odd", "title": "odd", "ablation_setting": SETTING, "views": "1x1", "average": "probs"}
    (folder / "experiments.yaml").write_text(yaml.safe_dump(values | {"experiments": variants}))
    for name in ("tables", "figures"):
        (folder / f"{name}.yaml").write_text("{}")
    monkeypatch.setattr("ssar.experiments.CONFIG", tmp_path)
    with pytest.raises(UserError, match=message):
        load_paper("odd")


def test_unlabelled_videos_of_another_dataset(make):
    grid = make()
    setting = "ucf101.all+kinetics400"
    for run in grid.select("cmpl", "cmpl", setting):
        assert run.config.unlabelled is not None
        assert run.config.unlabelled.dataset == "kinetics400"
        targets = Targets(grid)
        assert targets.unlabelled(run.id) == ["results/splits/kinetics400/all.d0.csv"]
        assert targets.unlabelled_root(run.id) == ["results/data/kinetics400/videos"]
        assert "protocol" in targets.labels_json("kinetics400", "all", "0")
    assert all(run.config.unlabelled is None for run in grid.runs.values() if not run.config.options.needs_unlabelled)


def test_a_setting_may_speak_to_one_method(make):
    grid = make()
    cmpl, fixmatch = (grid.select("cmpl", name, "ucf101.per-class-10")[0].config for name in ("cmpl", "fixmatch"))
    assert cmpl.options.lambda_u == fixmatch.options.w_unlabelled == 2
    assert cmpl.optim.weight_decay == fixmatch.optim.weight_decay == 1e-3


def test_equal_protocols_with_and_without_the_labelled_among_the_unlabelled_are_two_splits(make):
    grid = make()
    targets = Targets(grid)
    runs = [grid.select("benchmark", "fixmatch", SETTING)[0], grid.select("timebalance", "timebalance", SETTING)[0]]
    splits = [targets.split(run.id) for run in runs]
    assert splits == [f"results/splits/ucf101/videossl-20.d0{rest}.csv" for rest in ("", "-rest")]
    flags = [json.loads(targets.labels_json("ucf101", "videossl-20", f"0{rest}")) for rest in ("", "-rest")]
    assert [flag.get("unlabelled_includes_labelled", True) for flag in flags] == [True, False]
