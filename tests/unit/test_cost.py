"""The forecast: what is missing, what its parts add up to, and operations that are those of the real step."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tiny_methods import tiny_batch, tiny_method, tiny_run, total
from torch.utils.flop_counter import FlopCounterMode

from ssar.cost import probe as probing
from ssar.cost import report
from ssar.cost.flops import step_flops
from ssar.cost.forecast import Counts, training
from ssar.cost.limits import Limits, Time
from ssar.cost.plan import requested
from ssar.cost.render import render, two
from ssar.cost.schedule import Timed, chain, makespan
from ssar.cost.shapes import step_shape
from ssar.cost.sizes import Sizes, Streams, dataset_sizes, streams
from ssar.cost.throughput import DecodeTime, EvalTime, Probe, Stated, StepTime, stated
from ssar.errors import UserError
from ssar.grid import build
from ssar.methods import METHODS
from ssar.project import CONFIG
from ssar.runtime import Runtime
from ssar.targets import Targets

LENGTH = {"steps": 100, "epochs": None, "labelled": 4, "unlabelled": 4, "global_labelled": None, "precise_bn": 0}
SIZES = Sizes(training=480, test=240, classes=12, frames=50, width=64, height=48, source="made up")


def targets(folder: Path, *overlays: str) -> Targets:
    """Those of the configuration with some overlays and a results folder of its own."""
    own = folder / "own.yaml"
    own.write_text(yaml.safe_dump({"results": str(folder / "results")}))
    return Targets(build([CONFIG / "config.yaml", *(CONFIG / name for name in overlays), own]))


def measured(step: float = 0.1, **changes: object) -> Probe:
    """A probe that knows one kind of step of 10^9 operations, one of clip and one of sample."""
    config = tiny_run("supervised")
    shape = step_shape(config)
    head = (shape.key, shape.arch, shape.precision, shape.method)
    values = {
        "device": "made up",
        "cuda": False,
        "torch": "2",
        "threads": 1,
        "date": "today",
        "seconds": 1.0,
        "load": 0.0,
        "start": 5.0,
        "light": 1.0,
        "frame": 0.001,
        "steps": (StepTime(*head, 1e9, True, step, 0.05, 2.0, 5),),
        "evals": (EvalTime("one", "resnet3d", 1e8, 0.01, 0.05, True, 0.004),),
        "decodes": (DecodeTime("one", 8, 0.02, 0.04, 0.001),),
    }
    return Probe(**{**values, **changes})  # type: ignore[arg-type]


# --- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_the_counted_operations_are_those_of_a_real_step(name):
    batch_of = {"train__labelled": 3, "train__unlabelled": 3, "train__global_labelled": None}
    config = tiny_run(name, **batch_of, augment__weak__size=16, augment__weak__short_side=16)
    teachers = {role: tiny_run("finetune", model=config.model.model_dump()) for role in config.options.roles}
    found = step_flops(config, 3, teachers)
    method = tiny_method(config)
    batch = tiny_batch(method)
    with FlopCounterMode(display=False) as counter:
        total(method, batch).backward()
    assert found.counted
    assert found.flops == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert found.state >= found.trained > 0


# --- what is missing ------------------------------------------------------------------------------


def test_runs_are_missing_until_their_files_exist_and_come_after_what_they_need(tmp_path):
    found = targets(tmp_path, "demo.yaml", "benchmark-demo.yaml")
    plan = requested(found, ["tables/benchmark.tex"])
    for request in plan.requests:
        for place, key in enumerate(request.jobs):
            assert set(plan.jobs[key].needs) <= set(request.jobs[:place])
    kinds = {job.kind for job in plan.jobs.values()}
    assert kinds == {"index", "store", "train", "similarity", "predict"}
    # a finished prediction needs nothing any more, not even weights that are gone
    done = next(job for job in plan.jobs.values() if job.kind == "predict" and ".supervised." in job.subject)
    for name in ("predictions.npz", "metrics.json"):
        path = Path(done.key).with_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    left = requested(found, ["tables/benchmark.tex"])
    assert plan.jobs.keys() - left.jobs.keys() == {done.key, found.paths.run(done.subject, "model.pt")}
    for job in plan.jobs.values():
        Path(job.key).parent.mkdir(parents=True, exist_ok=True)
        Path(job.key).touch()
        if job.kind == "predict":
            Path(job.key).with_name("metrics.json").touch()
    assert not requested(found, ["tables/benchmark.tex"]).jobs


def test_names_are_files_with_or_without_folder_and_suffix(tmp_path):
    found = targets(tmp_path, "demo.yaml")
    names = ["tables/table1.tex", "tables/ltg/table1", f"{found.project.results}/tables/ltg/table1.md"]
    jobs = [requested(found, [name]).requests[0].jobs for name in names]
    assert jobs[0]
    assert jobs[0] == jobs[1] == jobs[2]
    assert requested(found, ["ablations/ltg/ltg.json"]).jobs
    # all tables in one document, and the report, which shows what the configuration asks for
    together = requested(found, ["tables/ltg/all.pdf"]).jobs
    assert set(together) > set(requested(found, ["tables/ltg/table1.tex"]).jobs)
    for page in ("report.html", f"{found.project.results}/report.html"):
        assert requested(found, [page]) == requested(found, [])
    for wrong in ("tables/ltg/none.tex", "tables/nobody/table1.tex", "ablations/ltg/none.json", "movies/ltg/1.mp4"):
        with pytest.raises(UserError, match=wrong):
            requested(found, [wrong])


def test_videos_are_counted_before_a_download_as_the_lists_are_named(tmp_path):
    found = targets(tmp_path)
    assert dataset_sizes(found, "ucf101").videos == 13320
    runs = {f"{run.config.dataset}.{run.config.labels.protocol}": run.id for run in found.grid.runs.values()}
    for setting, labelled in {
        "ucf101.videossl-20": 1907,
        "ucf101.svformer-1": 101,
        "kinetics400.svformer-1": 2400,
    }.items():
        if setting in runs:
            assert streams(found, runs[setting]).labelled == pytest.approx(labelled, rel=0.001)
    with pytest.raises(UserError, match="unknown before it is indexed"):
        dataset_sizes(found, "my-videos")


# --- one run --------------------------------------------------------------------------------------


def test_a_training_is_its_start_its_steps_and_its_decoding():
    config = tiny_run("supervised", train=LENGTH)
    counts = Counts(flops=1e9, warming=1e9, state=400, trained=300, evaluated=350, clip=1e8)
    shape = step_shape(config)
    known = measured().steps[0]
    probe = measured(steps=(StepTime(shape.key, *tuple(vars(known).values())[1:]),))
    split = Streams(labelled=48, unlabelled=480, test=240)

    def of(**runtime: int) -> float:
        return training(config, split, SIZES, counts, probe, Runtime(**runtime)).seconds

    assert of(workers=0) == pytest.approx(5 + 2 + 100 * 0.1 + 400 * 0.02)
    assert of(workers=2) == pytest.approx(5 + 2 + 100 * 0.1)  # 4 s of decoding beside 10 s of steps
    # 48 videos are decoded into a cache that holds them, the other 352 samples come from it
    assert of(workers=0, cache_mb=100) == pytest.approx(5 + 2 + 10 + 48 * 0.04 + 352 * 0.001)
    assert of(workers=0) == training(config, split, SIZES, counts, probe, Runtime(workers=0)).seconds
    found = training(config, split, SIZES, counts, probe, Runtime(workers=0))
    assert (found.how, found.disk, found.scratch) == ("probed", 750, 2 * (400 + 300))


def test_warming_up_takes_fewer_operations():
    train = {**LENGTH, "supervised_warmup_epochs": 0.5}
    split = Streams(labelled=48, unlabelled=400, test=240)
    counts = [Counts(2e9, warming, 1, 1, 1, 1e8) for warming in (2e9, 1e9)]
    config = tiny_run("fixmatch", train=train)
    found = [training(config, split, SIZES, count, Stated(1.0), Runtime(workers=0)) for count in counts]
    assert found[0].flops == pytest.approx(100 * 2e9)
    assert found[1].flops == pytest.approx(50 * 2e9 + 50 * 1e9)  # half an epoch of 100 steps
    assert found[0].seconds - found[1].seconds == pytest.approx(50 * 1e9 / 1e12)


def test_an_unmeasured_shape_is_scaled_within_its_family_and_less_certain():
    probe = measured()
    shape = step_shape(tiny_run("fixmatch"))
    near = probe.steps[0]
    far = StepTime("far", "timesformer", near.precision, "svformer", 1e9, True, 5.0, 0.0, 1.0, 5)
    twice = StepTime("twice", near.arch, near.precision, "ltg", 4e9, True, 0.2, 0.0, 1.0, 5)
    found = measured(steps=(near, far, twice)).step(shape, 2e9)
    assert found.how == "scaled"
    assert found.seconds in (pytest.approx(0.2), pytest.approx(0.1))
    # 0.1 s for 10^9 foretells 0.4 s for 4 x 10^9, which took 0.2; the reverse is half
    assert found.spread > 0.4
    assert probe.step(shape, 2e9).spread > 0.4  # nothing to compare with


def test_a_probe_survives_its_file_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "probe.json"
    measured().write(path)
    assert Probe.read(path) == measured()
    for text in ("[]", "{}", "no json", '{"version": 1}'):
        path.write_text(text)
        with pytest.raises(UserError, match="probe anew"):
            Probe.read(path)
    with pytest.raises(UserError, match="--throughput"):
        Probe.read(tmp_path / "none.json")
    for text in ("fast", "0", "-3", "nan", "inf"):
        with pytest.raises(UserError, match="TFLOP/s"):
            stated(text)


# --- sums -----------------------------------------------------------------------------------------

JOBS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3), st.sets(st.integers(0, 9))), min_size=1, max_size=10)


@given(JOBS, st.integers(1, 4))
def test_wall_time_is_between_the_longest_chain_and_all_work_in_a_row(jobs, places):
    timed = {
        str(number): Timed(seconds, holds, [str(before) for before in needs if before < number])
        for number, (seconds, holds, needs) in enumerate(jobs)
    }
    found = makespan(timed, places)
    work = sum(job.seconds * min(job.holds, places) for job in timed.values())
    assert found >= chain(timed) - 1e-6
    assert found >= work / places - 1e-6
    assert found <= sum(job.seconds for job in timed.values()) + 1e-6


@given(st.floats(1e-6, 1e9))
@settings(max_examples=50)
def test_two_digits_are_within_a_twentieth_and_without_an_exponent(value):
    text = two(value)
    assert float(text) == pytest.approx(value, rel=0.0501)
    assert "e" not in text


def test_the_page_counts_shared_runs_once_and_says_what_it_rests_on(tmp_path):
    found = targets(tmp_path, "demo.yaml")
    names = ["figures/ltg/figure4.pdf", "figures/ltg/figure5.pdf", "figures/ltg/figure3.pdf"]
    forecast = report.Forecast(found, requested(found, names), stated("0.001"))
    page = forecast.report(gpus=2, budget=None, cores=2)
    assert page.hours == pytest.approx(sum(line.new for line in page.targets))
    assert page.hours < sum(line.alone for line in page.targets)
    assert all(line.new <= line.alone + 1e-9 for line in page.targets)
    assert page.wall >= page.longest
    assert page.targets[2].alone == 0  # its videos need no run
    # the second figure has more jobs of the same runs: on top of the first one it no longer fits
    limited = forecast.report(gpus=2, budget=page.targets[0].alone, cores=2)
    assert {line.name: line.fits for line in limited.budgeted} == {names[0]: True, names[1]: False, names[2]: True}
    text = render(limited)
    assert "Stated, not measured: 0.001 TFLOP/s" in text
    assert all(name in text for name in names)


def test_a_probe_of_this_machine_answers_for_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "HEAVY", "pass")
    monkeypatch.setattr(probing, "LIGHT", "pass")
    found = targets(tmp_path, "demo.yaml")
    names = ["figures/ltg/figure5.pdf"]
    out = tmp_path / "probe.json"
    probing.probe(found, names, out, 1, found.project.runtime.model_copy(update={"threads": 1}))
    probe = Probe.read(out)
    assert probe.steps
    assert probe.evals
    assert all(item.seconds > 0 for item in (*probe.steps, *probe.evals))
    page = report.cost(found, names, probe)
    assert "generated videos" in page  # nothing is indexed yet
    assert "probed" in page
    assert "core h" in page


# --- time limits ----------------------------------------------------------------------------------


def test_the_forecast_of_each_job_is_kept_for_time_limits(tmp_path):
    found = targets(tmp_path, "demo.yaml")
    names = ["figures/ltg/figure5.pdf"]
    path = tmp_path / "cost.json"
    report.cost(found, names, stated("0.001"), limits=path)
    limits = Limits.read(path)
    assert limits is not None
    plan = requested(found, names)
    costs = report.Forecast(found, plan, stated("0.001")).costs
    for job in plan.jobs.values():
        if job.kind == "train":
            assert limits.trainings[job.subject].seconds == costs[job.key].seconds
        elif job.kind == "predict":
            assert limits.predictions[job.subject][job.views].seconds == costs[job.key].seconds
    assert len(limits.trainings) == len(plan.trainings()) > 0
    assert (limits.device, limits.devices) == ("0.001 TFLOP/s, stated", 1)


def test_a_limit_is_the_forecast_with_a_margin_below_the_ceiling():
    known = {"a": Time(3600, 0.1, "probed"), "b": Time(3600, 0.4, "scaled"), "c": Time(0.1, 0, "stated")}
    limits = Limits("a device", 2, known, {"a": {"2x1-logits": Time(1200, 0.1, "probed")}})
    assert limits.minutes("a", 2880) == 100  # 60 x 1.5 + 10
    assert limits.minutes("b", 2880) == 130
    assert limits.minutes("c", 2880) == 15  # 10 and a little
    assert limits.minutes("a", 2880, attempt=3) == 300
    assert limits.minutes("a", 60, attempt=3) == 180
    assert limits.minutes("a", 2880, devices=4) == 55
    assert limits.minutes("a", 2880, devices=1) == 190
    assert limits.minutes("a", 2880, views="2x1-logits") == 40
    for unknown in ({"run_id": "d"}, {"run_id": "a", "views": "1x1-logits"}, {"run_id": "b", "views": "2x1-logits"}):
        assert limits.minutes(**unknown, ceiling=2880, attempt=2) == 2880


def test_a_forecast_that_is_not_one_sets_no_limits(tmp_path):
    path = tmp_path / "cost.json"
    assert Limits.read(path) is None
    Limits("a device", 1, {"a": Time(60, 0.1, "probed")}, {}).write(path)
    whole = path.read_text()
    assert Limits.read(path) is not None
    for wrong in (whole[:-9], "[]", "{}", whole.replace('"probed"', '"guessed"'), whole.replace("60", '"soon"')):
        path.write_text(wrong)
        assert Limits.read(path) is None
