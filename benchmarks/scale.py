"""Time and memory of what comes before the first batch, on a dataset of the size of Kinetics-400.

    python benchmarks/scale.py [--videos 260000] [--workers 4] [--keep FOLDER]

The index is generated: 400 classes, names as YouTube's, one video in 13 for testing. The videos themselves are a
handful of small files under many names. Each stage runs in a process of its own, so that its time includes the start of
Python and all imports, and its memory is its own. Of a loader's workers, which are told only what to decode, the
printed memory is that of the largest: resident (RSS), the same with its share of what it has in common with others
(PSS), and its own (USS). The same stages on a hundredth of the videos are the reference of the ratios. The aims: every
stage below 10 s and 1024 MB in each process, and workers whose own memory does not grow with the dataset. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "workflow"))

CLASSES, TEST_SHARE = 400, 13
LEAST = 100 * CLASSES * 2
FILES = 8  # a file has 65,000 names at most on many disks
SECONDS, MEGABYTES = 10.0, 1024.0
KINETICS, PROTOCOL = "kinetics400", "videossl-10"


# --- the dataset ------------------------------------------------------------------------------------


def generate(folder: Path, count: int) -> None:
    """An index of `count` videos, one of the published lists' size for the protocol, and a folder that has them all."""
    from tests.videos import make_folder

    from ssar.data.index import COLUMNS

    made = [folder / "made" / path for path in make_folder(folder / "made", 1, FILES, frames=80, size=(96, 128))]
    letters = random.Random(0)
    labelled = []
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for label in range(CLASSES):
            (videos := folder / "videos" / (name := f"action number {label:03d}")).mkdir(parents=True)
            drawn = ("".join(letters.choices(string.ascii_letters, k=11)) for _ in range(count // CLASSES))
            for number, clip in enumerate(sorted(drawn)):
                path, split = f"{name}/{clip}_000010_000020.mp4", "test" if number % TEST_SHARE == 0 else "train"
                os.link(made[number % FILES], videos.parent / path)
                writer.writerow((path, name, label, "", split, 80, 25, 128, 96, f"{letters.getrandbits(160):040x}"))
                if split == "train" and number % 10 == 1:
                    labelled.append(f"{path} {label}")
    (folder / "index-excluded.csv").write_text("path,class,reason\n")
    (folder / "missing.csv").write_text("entry,split,where\n")
    (folder / "list.txt").write_text("\n".join(labelled) + "\n")
    listed = {"dataset": KINETICS, "listed": count, "missing": 0, "unusable": 0}
    (folder / "completeness.json").write_text(json.dumps(listed))


# --- stages: each yields once, when it has done what is timed and its processes are still alive -------


def stage_drawn(folder: Path, workers: int) -> Iterator[str]:
    """make_split, 10 % of the labels drawn"""
    yield from _split(folder, "percent-10", {})


def stage_published(folder: Path, workers: int) -> Iterator[str]:
    """make_split, a published list"""
    yield from _split(folder, "listed", {"listed": {"labelled": {"path": str(folder / "list.txt")}}})


def _split(folder: Path, protocol: str, protocols: dict[str, Any]) -> Iterator[str]:
    from ssar.config import DatasetConfig, LabelsConfig
    from ssar.data.protocols import make_split

    dataset = DatasetConfig.model_validate({"kind": "folder", "root": str(folder / "videos"), "protocols": protocols})
    out = folder / f"{protocol}.csv"
    make_split(folder / "index.csv", dataset, LabelsConfig(protocol=protocol), out)
    yield f"{out.stat().st_size / 1e6:.0f} MB"


def stage_read(folder: Path, workers: int) -> Iterator[str]:
    """reading a split, all its lists"""
    from ssar.data.split import read_split

    split = read_split(folder / "percent-10.csv")
    yield f"{len(split.labelled)} + {len(split.unlabelled)} + {len(split.test)} videos"


def stage_grid(folder: Path, workers: int) -> Iterator[str]:
    """the grid of all papers, and what jobs ask for"""
    from ssar.targets import Targets

    grid = _grid()
    targets = Targets(grid)
    targets.default()
    yield f"{sum(run.config.dataset == KINETICS for run in grid.runs.values())} of {len(grid.runs)} runs are Kinetics'"


def stage_training(folder: Path, workers: int) -> Iterator[str]:
    """the training loader, to its first batch"""
    from ssar.config import parse_run
    from ssar.data.loader import training_batches
    from ssar.data.split import read_split
    from ssar.runtime import Runtime

    config = parse_run((folder / "run.json").read_text())
    split = read_split(folder / "percent-10.csv")
    runtime = Runtime(workers=workers)
    batches = training_batches(config, split, folder / "videos", None, runtime, steps=range(1000, 1010))
    first = next(iter(batches))
    yield " + ".join(f"{len(batch.label)} {name}" for name, batch in first.items() if batch is not None)


def stage_prediction(folder: Path, workers: int) -> Iterator[str]:
    """the prediction's loader, to its first video"""
    from ssar.config import parse_run
    from ssar.data.clips import run_decoder
    from ssar.data.split import read_split
    from ssar.data.workers import in_order
    from ssar.evaluation.predict import video_tasks, view_maker
    from ssar.runtime import Runtime
    from ssar.views import Views

    config, runtime, views = (
        parse_run((folder / "run.json").read_text()),
        Runtime(workers=workers),
        Views(10, 3, 256, "probs"),
    )
    decoder = run_decoder(config, folder / "videos", None, runtime.reader, frozenset({"rgb"}))
    tasks = video_tasks(config, read_split(folder / "percent-10.csv").test, views, decoder.lookahead)
    results = in_order(view_maker(config, decoder, views), tasks, workers=workers, seconds=60)
    next(results)
    yield f"{len(tasks)} videos"


STAGES = {
    "split, drawn": stage_drawn,
    "split, published": stage_published,
    "read split": stage_read,
    "grid": stage_grid,
    "training": stage_training,
    "prediction": stage_prediction,
}


def _grid() -> Any:
    from ssar.grid import build

    return build([ROOT / "config" / "config.yaml"])


# --- measuring --------------------------------------------------------------------------------------


def run_stage(name: str, folder: Path, workers: int, began: float) -> None:
    """In a process of its own: print what the stage took since `began`, a time of `time.monotonic`, as JSON."""
    import psutil

    stage = STAGES[name](folder, workers)
    what = next(stage)
    seconds = time.monotonic() - began
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    cpu = sum(sum(process.cpu_times()[:2]) for process in processes)
    memories = [psutil.Process(child.pid).memory_full_info() for child in multiprocessing.active_children()]
    largest = {
        part: max((getattr(memory, part) for memory in memories), default=0) / 2**20 for part in ("rss", "pss", "uss")
    }
    # not getrusage's, which begins with the memory of the process that started this one
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = {"seconds": seconds, "cpu": cpu, "peak": int(status["VmHWM"].split()[0]) / 1024}
    print(json.dumps({"what": what, "workers": len(memories), **found, **largest}))
    stage.close()


def measure(name: str, folder: Path, workers: int) -> dict[str, Any]:
    """What a stage took. Raises RuntimeError where it fails."""
    command = [sys.executable, __file__, "--stage", name, "--keep", str(folder), "--workers", str(workers)]
    command += ["--began", repr(time.monotonic())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(whole: Path, part: Path, workers: int) -> bool:
    """Print the table; whether every stage keeps its aims."""
    columns = {"seconds": "clock s", "cpu": "CPU s", "peak": "peak MB", "rss": "RSS", "pss": "PSS", "uss": "own"}
    heads = "".join(f"{head:>9}" for head in columns.values())
    print(f"{'':17}{heads}   | ratios: CPU, peak, own of a worker")
    kept = True
    for name in STAGES:
        found, reference = measure(name, whole, workers), measure(name, part, workers)
        digits = {"seconds": 1, "cpu": 1}
        values = "".join(f"{found[key]:9.{digits.get(key, 0)}f}" if found[key] else f"{'':9}" for key in columns)
        ratios = " ".join(f"{found[key] / reference[key]:5.2f}" for key in ("cpu", "peak", "uss") if found[key])
        ok = found["seconds"] < SECONDS and max(found["peak"], found["rss"]) < MEGABYTES
        kept = kept and ok
        print(f"{name:17}{values}   | {ratios:17} {'' if ok else 'OVER THE AIM: '}{found['what']}", flush=True)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=260_000, help="videos of the dataset")
    parser.add_argument("--workers", type=int, default=4, help="decoding processes")
    parser.add_argument("--keep", type=Path, help="folder for the generated files; none: they are removed")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.videos < LEAST:
        parser.error(f"--videos must be {LEAST} at least: its hundredth has a video of each kind in every class")
    if args.stage:
        run_stage(args.stage, args.keep, args.workers, args.began)
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = args.keep or Path(scratch)
        run = next(run for run in _grid().runs.values() if (run.config.dataset, run.config.method) == (KINETICS, "ltg"))
        folders = []
        for count in (args.videos, args.videos // 100):
            folders.append(base / f"videos-{count}")
            if not folders[-1].exists():
                folders[-1].mkdir(parents=True)
                generate(folders[-1], count)
            (folders[-1] / "run.json").write_text(run.canon)
        print(f"{args.videos} videos of {CLASSES} classes against {args.videos // 100}, {args.workers} workers")
        kept = compare(*folders, args.workers)
        print(f"every stage below {SECONDS:g} s and {MEGABYTES:g} MB a process: {'yes' if kept else 'NO'}")


if __name__ == "__main__":
    main()
