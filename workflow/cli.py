#!/usr/bin/env python
"""The one executable: a verb for each rule, usable by hand. `python workflow/cli.py VERB --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

# Heavy imports stay inside the verbs: --help and `config` must start at once.


def config_check(args: argparse.Namespace) -> None:
    """Validate the configuration and every run that it asks for."""
    from ssar.cost.plan import check
    from ssar.targets import Targets

    grid = _grid(args)
    check(Targets(grid))
    print(f"{len(grid.runs)} runs of {len(grid.papers)} paper(s): no mistakes")


def config_show(args: argparse.Namespace) -> None:
    """Print one run's settings, or those of a variant in a setting, as yaml."""
    import yaml

    grid = _grid(args)
    if args.run not in grid.runs:
        from ssar.errors import UserError

        raise UserError(f"no run {args.run}; `config grid` lists them all")
    run = grid.runs[args.run]
    print(yaml.safe_dump(run.config.model_dump(mode="json", serialize_as_any=True), sort_keys=False), end="")


def config_grid(args: argparse.Namespace) -> None:
    """List every run with the variants that share it, tab-separated."""
    grid = _grid(args)
    users: dict[str, list[str]] = {}
    for paper, variant, setting in grid.selected():
        for run in grid.select(paper, variant, setting):
            users.setdefault(run.id, []).append(f"{paper}:{variant}@{setting}")
    print("run\twanted_by")
    for run_id in sorted(grid.runs):
        print(f"{run_id}\t{','.join(users[run_id])}")


def config_schema(args: argparse.Namespace) -> None:
    """Write the JSON schemas under config/schema."""
    from ssar.reference import write_schemas

    write_schemas(Path(args.out))


def config_reference(args: argparse.Namespace) -> None:
    """Write the reference of all options as Markdown."""
    from ssar.files import write_text
    from ssar.reference import reference

    write_text(args.out, reference())


def status(args: argparse.Namespace) -> None:
    """Say how far the runs of the targets are: done, running, queued, failed, interrupted, missing."""
    from ssar.overview import overview
    from ssar.squeue import trainings
    from ssar.status import status as look
    from ssar.targets import Targets

    targets = Targets(_grid(args))
    queue = trainings()
    print(overview(look(targets, args.targets, queue), args.all), end="")
    if queue is None:
        print("squeue does not answer: jobs that wait are not shown", file=sys.stderr)


def gc(args: argparse.Namespace) -> None:
    """List what no configuration asks for any more, with sizes; --delete removes it."""
    from ssar.gc import collect

    collect(args.configfile, args.also, delete=args.delete, force=args.force)


def synthact(args: argparse.Namespace) -> None:
    """Generate the embedded dataset."""
    from ssar.data.synthact import generate

    generate(_dataset(args).synthact, Path(args.meta).parent, args.jobs)


def fetch(args: argparse.Namespace) -> None:
    """Download a dataset's files."""
    from ssar.data.fetch import fetch_dataset

    fetch_dataset(_dataset(args), Path(args.out), keep=args.archives == "keep")


def fetch_addresses(args: argparse.Namespace) -> None:
    """Download a list of addresses and ask for the sizes of its files."""
    from ssar.data.fetch import fetch_addresses as fetch_list

    fetch_list(_dataset(args), args.file, Path(args.out), keep=args.archives == "keep")


def fetch_part(args: argparse.Namespace) -> None:
    """Download a share of the files that a list of addresses names."""
    from ssar.data.fetch import fetch_part as fetch_share

    fetch_share(Path(args.addresses), args.part, args.of, Path(args.out))


def lists(args: argparse.Namespace) -> None:
    """Bring a dataset's published lists here and read each of them."""
    from ssar.data.published import bring_lists

    bring_lists(_dataset(args), Path(args.out))


def extract(args: argparse.Namespace) -> None:
    """Unpack downloaded archives."""
    from ssar.data.unpacking import unpack_dataset

    unpack_dataset(Path(args.downloads), Path(args.out), args.jobs, keep=args.archives == "keep")


def transcode(args: argparse.Namespace) -> None:
    """Write a dataset's videos anew, for fast reading; does what is not done yet."""
    from ssar.data.transcode import Part
    from ssar.data.transcode import transcode as transcode_dataset

    part = None if args.part == args.of == 1 else Part(args.part, args.of)
    transcode_dataset(_dataset(args), Path(args.root), Path(args.videos), Path(args.out), args.jobs, part)


def index(args: argparse.Namespace) -> None:
    """Decode every video once and list the usable ones."""
    from ssar.data.index import build_index

    build_index(_dataset(args), Path(args.root), Path(args.index), Path(args.report), args.jobs)


def index_part(args: argparse.Namespace) -> None:
    """Decode a share of the videos, for the index to gather."""
    from ssar.data.index import index_part as look_into

    look_into(_dataset(args), Path(args.root), args.part, args.of, Path(args.out), args.jobs)


def splits_compare(args: argparse.Namespace) -> None:
    """Show what two splits or published lists have in common: videos, balance, labels, leakage."""
    from ssar.data.compare import compare
    from ssar.data.compare_page import page
    from ssar.data.sides import read_side
    from ssar.project import CONFIG, load_project

    files = [CONFIG / "config.yaml", *map(Path, args.configfile)]
    project = load_project(files)
    a, b = (read_side(text, project, files) for text in (args.a, args.b))
    found = compare(a, b, args.groups)
    print(json.dumps(found.as_dict(), indent=1) if args.json else page(found), end="\n" if args.json else "")


def split(args: argparse.Namespace) -> None:
    """Draw or read the labelled, unlabelled and test videos."""
    from ssar.config import LabelsConfig
    from ssar.data.protocols import make_split

    labels = _given(LabelsConfig, args.labels, "labels")
    make_split(Path(args.index), _dataset(args), labels, Path(args.out))


def extract_tg(args: argparse.Namespace) -> None:
    """Write a dataset's temporal gradients to a store."""
    from ssar.config import TemporalGradient
    from ssar.data.tg_store import extract as extract_store

    gradient = _given(TemporalGradient, args.tg, "tg")
    runtime = _runtime(args)
    extract_store(_dataset(args), gradient, Path(args.index), Path(args.root), Path(args.out), args.threads, runtime)


def train(args: argparse.Namespace) -> None:
    """Train one run; continues from its last checkpoint."""
    from ssar import launch

    _json(args.config, "config")  # what is none is no failed attempt
    runtime, state, out = _runtime(args), Path(args.state), Path(args.model).parent
    upstream = dict(_role(text) for text in args.upstream)
    unlabelled = (Path(args.unlabelled[0]), Path(args.unlabelled[1])) if args.unlabelled else None
    starter = launch.launched_by()
    if starter is None:
        from ssar.config import canonical, parse_run
        from ssar.engine.finished import Finished, inputs

        def finished() -> Finished:
            config, files = canonical(parse_run(args.config)), inputs(Path(args.split), upstream, unlabelled)
            return Finished.of(state, out, config, files)

        sys.exit(launch.train(runtime, state, sys.argv, finished))
    with launch.rank(starter, state):
        from ssar.config import parse_run
        from ssar.engine.train import train as train_run

        train_run(
            parse_run(args.config),
            split_path=Path(args.split),
            video_root=Path(args.root),
            tg_store=Path(args.store) if args.store else None,
            out_dir=out,
            state_dir=state,
            runtime=runtime,
            upstream=upstream,
            unlabelled=unlabelled,
        )


def _role(text: str) -> tuple[str, Path]:
    role, _, path = text.partition("=")
    return role, Path(path)


def similarity(args: argparse.Namespace) -> None:
    """Compute the temporal similarity of all training videos under two pretrained networks."""
    runtime = _runtime(args)
    _spread(runtime)
    from ssar.evaluation.similarity import write_similarity

    write_similarity([Path(model) for model in args.models], Path(args.split), Path(args.root), Path(args.out), runtime)


def predict(args: argparse.Namespace) -> None:
    """Predict every test video once."""
    runtime = _runtime(args)
    _spread(runtime)
    from ssar.evaluation.predict import predict as predict_run
    from ssar.views import Views

    predict_run(
        Path(args.model),
        split_path=Path(args.split),
        video_root=Path(args.root),
        tg_store=Path(args.store) if args.store else None,
        views=Views.from_slug(args.views),
        out=Path(args.out),
        runtime=runtime,
    )


def metrics(args: argparse.Namespace) -> None:
    """Compute metrics.json from predictions."""
    from ssar.evaluation.metrics import write_metrics

    completeness = [Path(path) for path in args.completeness]
    write_metrics(Path(args.predictions), args.run, Path(args.provenance), completeness, Path(args.out))


def ablation(args: argparse.Namespace) -> None:
    """Summarise one variant's seeds."""
    from ssar.reporting.ablation import write_ablation

    write_ablation(args.paper, args.variant, [Path(path) for path in args.metrics], Path(args.out))


def architecture(args: argparse.Namespace) -> None:
    """Write the output sizes of a network's stages."""
    from ssar.models.describe import write_architecture

    write_architecture(args.config, Path(args.out))


def table(args: argparse.Namespace) -> None:
    """Render one table as .tex, .md and .csv."""
    from ssar.reporting.table import render

    render(_json(args.table, "table"), Path(args.out).with_suffix(""))


def typeset(args: argparse.Namespace) -> None:
    """Compile one table to .pdf."""
    from ssar.reporting.typeset import typeset as compile_table

    compile_table(Path(args.tex), Path(args.pdf))


def figure(args: argparse.Namespace) -> None:
    """Render one figure as .pdf and .png."""
    from ssar.reporting.figures.render import render

    render(_json(args.figure, "figure"), Path(args.root), Path(args.out).with_suffix(""))


def typeset_all(args: argparse.Namespace) -> None:
    """Compile a paper's tables to one .pdf."""
    from ssar.reporting.typeset import typeset_all as compile_tables

    compile_tables([Path(tex) for tex in args.tex], args.title, Path(args.pdf))


def claims(args: argparse.Namespace) -> None:
    """Write the verdicts on a paper's claims as .md and .csv; runs that are not there count as not run."""
    from ssar.reporting.claims.write import write_claims
    from ssar.targets import Targets

    write_claims(Targets(_grid(args)), args.paper, Path(args.out))


def report(args: argparse.Namespace) -> None:
    """Write one self-contained page on everything that there is."""
    from ssar.reporting.html import write_report
    from ssar.targets import Targets

    write_report(Targets(_grid(args)), Path(args.out))


def probe(args: argparse.Namespace) -> None:
    """Measure for a minute how fast this machine does what the targets still lack."""
    from ssar.targets import Targets

    targets = Targets(_grid(args))
    args.runtime = args.runtime or targets.project.runtime.model_dump_json()
    args.threads = args.threads or targets.project.resources.train.threads
    runtime = _runtime(args)  # before torch is imported
    from ssar.cost.probe import probe as measure

    measure(targets, args.targets, Path(args.out or targets.paths.probe), args.seconds, runtime)


def cost(args: argparse.Namespace) -> None:
    """Say what the targets cost before anything runs: device hours, disk, download, wall time."""
    from ssar.cost.report import cost as forecast
    from ssar.cost.throughput import Probe, stated
    from ssar.files import write_text
    from ssar.targets import Targets

    targets = Targets(_grid(args))
    options = targets.project.cost
    speed = args.throughput or options.throughput
    throughput = stated(str(speed)) if speed else Probe.read(args.probe or targets.paths.probe)
    budget = options.budget if args.budget is None else args.budget
    text = forecast(targets, args.targets, throughput, args.gpus or options.gpus, budget, limits=args.limits)
    if args.out:
        write_text(args.out, text)
    else:
        print(text, end="")


SITE_KEYS = ("partition", "cpu_partition", "account", "qos", "constraint", "gpu_name", "extra")
"""Keys of the site that a check by hand may name instead."""


def slurm_doctor(args: argparse.Namespace) -> None:
    """Check whether this cluster is fit, and say what to set in slurm/site.yaml where it is not."""
    from ssar.project import CONFIG, load_project
    from ssar.slurm.doctor import doctor
    from ssar.slurm.site import Site

    project = load_project([CONFIG / "config.yaml", *map(Path, args.configfile)])
    given = {key: value for key in SITE_KEYS if (value := getattr(args, key)) is not None}
    if not doctor(project, Site.read(given=given), jobs=args.jobs, gpus=args.gpus, patience=args.seconds):
        sys.exit(1)


def slurm_trial(args: argparse.Namespace) -> None:
    """What the doctor's job does on a compute node."""
    from ssar.slurm.node import trial

    trial(Path(args.folder), args.seconds)


# --- arguments ------------------------------------------------------------------------------------


def _grid(args: argparse.Namespace):  # type: ignore[no-untyped-def]
    from ssar.grid import build
    from ssar.project import CONFIG

    files = [CONFIG / "config.yaml", *map(Path, args.configfile)]
    return build(files, _json(args.project, "project") if getattr(args, "project", None) else None)


def _dataset(args: argparse.Namespace):  # type: ignore[no-untyped-def]
    from ssar.config import DatasetConfig

    return _given(DatasetConfig, args.config, "config")


def _json(text: str, name: str):  # type: ignore[no-untyped-def]
    """The mapping that an option holds as JSON."""
    from ssar.errors import UserError

    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--{name}: this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"--{name}: expected a JSON object")
    return found


def _given(model, text: str, name: str):  # type: ignore[no-untyped-def]
    """The options that an option of the command holds as JSON."""
    from ssar.layers import Layer, validate

    return validate(model, [Layer(_json(text, name), Path(f"--{name}"))], f"--{name} has mistakes:")


def _runtime(args: argparse.Namespace):  # type: ignore[no-untyped-def]
    """The runtime options; limits the thread pools before any library starts one."""
    from ssar.runtime import Runtime

    runtime = _given(Runtime, args.runtime, "runtime")
    threads = runtime.threads or args.threads
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    return runtime.model_copy(update={"threads": threads})


def _spread(runtime) -> None:  # type: ignore[no-untyped-def]
    """Give the same command to a process for each device, if there are several and this is none of them."""
    from ssar import launch

    starter = launch.launched_by()
    if starter is not None:
        launch.stay_with(starter)
    elif runtime.world > 1:
        sys.exit(launch.run(runtime, sys.argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cli.py", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(group, action: Callable[[argparse.Namespace], None], *options: str, name: str = ""):  # type: ignore[no-untyped-def]
        text = (action.__doc__ or "").strip()
        sub = group.add_parser(name or action.__name__.replace("_", "-"), help=text.splitlines()[0], description=text)
        for option in options:
            sub.add_argument(f"--{option}", required=True)
        sub.set_defaults(action=action)
        return sub

    config = verbs.add_parser("config", help="check, show and list the runs of a configuration")
    actions = config.add_subparsers(required=True, metavar="ACTION")
    overlay = {"action": "extend", "nargs": "+", "default": [], "help": "overlay(s) of config/config.yaml"}
    verb(actions, config_check, name="check").add_argument("--configfile", **overlay)
    show = verb(actions, config_show, name="show")
    show.add_argument("run", help="id of a run")
    show.add_argument("--configfile", **overlay)
    verb(actions, config_grid, name="grid").add_argument("--configfile", **overlay)
    verb(actions, config_schema, name="schema").add_argument("--out", default="config/schema")
    verb(actions, config_reference, name="reference").add_argument("--out", default="docs/configuration.md")
    clean = verb(verbs, gc)
    clean.add_argument("--configfile", **overlay)
    also = "overlay(s) of another configuration with the same results folder, whose needs stay, too; repeatable"
    clean.add_argument("--also", action="append", nargs="*", default=[], metavar="OVERLAY", help=also)
    what = clean.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="only list it, which is the default")
    what.add_argument("--delete", action="store_true", help="remove it")
    clean.add_argument("--force", action="store_true", help="delete even where most finished runs would go")

    actions = verbs.add_parser("slurm", help="check a cluster").add_subparsers(required=True, metavar="ACTION")
    check = verb(actions, slurm_doctor, name="doctor")
    check.add_argument("--configfile", **overlay)
    for key in SITE_KEYS:
        check.add_argument(f"--{key.replace('_', '-')}", help="as the key of slurm/site.yaml, which it stands for")
    check.add_argument("--no-jobs", dest="jobs", action="store_false", help="submit no trial job")
    check.add_argument("--gpus", type=int, help="GPUs of the trial job on each node; none: two where nodes have them")
    check.add_argument("--seconds", type=float, default=55.0, help="how long the trial job may take, queue included")
    tried = verb(actions, slurm_trial, name="trial")
    tried.add_argument("folder", help="made by the doctor")
    tried.add_argument("--seconds", type=float, default=45.0, help="how long to wait for a signal")

    actions = verbs.add_parser("splits", help="look into splits").add_subparsers(required=True, metavar="ACTION")
    both = verb(actions, splits_compare, name="compare")
    for side in ("a", "b"):
        both.add_argument(side, metavar=side.upper(), help="a list file, a split csv, or dataset.protocol[.dN]")
    both.add_argument("--groups", metavar="PATTERN", help="regular expression whose group names a video's recording")
    both.add_argument("--json", action="store_true", help="print JSON for other programs")
    both.add_argument("--configfile", **overlay)

    jobs = {"type": int, "default": 1, "help": "processes"}
    verb(verbs, synthact, "config", "meta").add_argument("--jobs", **jobs)
    archives = {"choices": ["keep", "delete"], "default": "keep", "help": "once they are unpacked"}
    verb(verbs, fetch, "config", "out").add_argument("--archives", **archives)
    verb(verbs, fetch_addresses, "config", "file", "out").add_argument("--archives", **archives)
    share = verb(verbs, fetch_part, "addresses", "out")
    share.add_argument("--part", type=int, required=True, help="which share, from 1")
    share.add_argument("--of", type=int, required=True, help="how many shares there are")
    verb(verbs, lists, "config", "out")
    unpacked = verb(verbs, extract, "downloads", "out")
    unpacked.add_argument("--jobs", **jobs | {"help": "archives at once"})
    unpacked.add_argument("--archives", **archives)
    again = verb(verbs, transcode, "config", "root", "videos", "out")
    again.add_argument("--jobs", **jobs)
    again.add_argument("--part", type=int, default=1, help="which share, from 1")
    again.add_argument("--of", type=int, default=1, help="how many shares there are")
    verb(verbs, index, "config", "root", "index", "report").add_argument("--jobs", **jobs)
    shared = verb(verbs, index_part, "config", "root", "out")
    shared.add_argument("--part", type=int, required=True, help="which share, from 1")
    shared.add_argument("--of", type=int, required=True, help="how many shares there are")
    shared.add_argument("--jobs", **jobs)
    verb(verbs, split, "config", "labels", "index", "out")
    for action, options in (
        (extract_tg, ("config", "tg", "root", "index", "out")),
        (train, ("config", "split", "root", "model", "state")),
        (predict, ("model", "split", "root", "views", "out")),
        (similarity, ("split", "root", "out")),
    ):
        sub = verb(verbs, action, *options)
        sub.add_argument("--runtime", default="{}", help="JSON of the group `runtime`")
        sub.add_argument("--threads", type=int, default=1, help="CPU threads")
        if action is similarity:
            sub.add_argument("--models", nargs=2, required=True, help="model.pt of both, the invariant one first")
        if action is train:
            sub.add_argument("--upstream", nargs="*", default=[], metavar="ROLE=FILE", help="files of other runs")
            sub.add_argument("--unlabelled", nargs="*", default=[], metavar="SPLIT ROOT", help="another dataset")
        if action in (train, predict):
            # an empty list of inputs formats to nothing, so the option may stand without a value
            sub.add_argument("--store", nargs="?", help="temporal-gradient store, if the run reads one")

    measured = verb(verbs, metrics, "predictions", "run", "provenance", "out")
    measured.add_argument("--completeness", nargs="+", required=True, help="completeness.json of the run's datasets")
    verb(verbs, ablation, "paper", "variant", "out").add_argument("--metrics", nargs="+", required=True)
    verb(verbs, architecture, "config", "out")
    verb(verbs, table, "table", "out")
    verb(verbs, typeset, "tex", "pdf")
    verb(verbs, figure, "figure", "root", "out")
    verb(verbs, typeset_all, "title", "pdf").add_argument("--tex", nargs="+", required=True)
    merged = {"help": "the merged configuration as JSON, as Snakemake passes it"}
    for action in (claims, report):
        sub = verb(verbs, action, "out")
        sub.add_argument("--configfile", **overlay)
        sub.add_argument("--project", **merged)
        if action is claims:
            sub.add_argument("paper", help="a folder of config/papers")
    for action in (probe, cost, status):
        sub = verb(verbs, action)
        sub.add_argument(
            "targets", nargs="*", metavar="TARGET", help="e.g. tables/ltg/table1.tex; none: the configuration's"
        )
        sub.add_argument("--configfile", **overlay)
        sub.add_argument("--project", **merged)
        if action is probe:
            sub.add_argument("--out", help="where the measurement goes; none: probe.json of the results folder")
            sub.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
            sub.add_argument("--runtime", help="JSON of the group `runtime`; none: the configuration's")
            sub.add_argument("--threads", type=int, help="CPU threads; none: those of a training")
        elif action is status:
            sub.add_argument("--all", action="store_true", help="list the runs that are done or missing, too")
        else:
            sub.add_argument("--out", help="where the page goes; none: printed")
            sub.add_argument("--limits", help="where the seconds of each job go, for time limits; none: nowhere")
            sub.add_argument("--probe", nargs="?", help="a measurement; none: probe.json of the results folder")
            sub.add_argument("--throughput", help="effective TFLOP/s, stated instead of measured")
            sub.add_argument("--gpus", type=int, help="devices that the wall time is of")
            sub.add_argument("--budget", type=float, help="device hours: which targets fit into them")
    return parser


def _drop_output() -> None:
    """What is left of the standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    args = _parser().parse_args()
    from ssar.errors import UserError

    try:
        args.action(args)
        sys.stdout.flush()
    except UserError as error:
        sys.exit(f"ssar: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `... config grid | head`: the reader has seen enough
        _drop_output()
    except Exception as error:
        from ssar.disk import is_full
        from ssar.engine.failures import reason

        if is_full(error):
            _drop_output()
        elif not (isinstance(error, OSError) and error.filename):  # which file cannot be had says enough
            import traceback

            traceback.print_exc()
        sys.exit(f"ssar: {reason(error)}")


if __name__ == "__main__":
    main()
