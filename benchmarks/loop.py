"""Time and memory of the training loop beside a bare PyTorch loop: same network, batch, optimiser and precision.

    python benchmarks/loop.py                      # on the GPU where there is one
    python benchmarks/loop.py --accelerator cpu --width 0.25 --size 56

Both loops train on one batch that lies decoded on the device, in alternating blocks of steps, so that a change of the
machine's speed meets both. Prints the seconds per step, their ratio (the median over pairs of blocks), and the peak
memory of each loop. Both networks are in memory throughout.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import torch
from lightning_fabric import Fabric

from ssar.config import RunConfig, parse_run
from ssar.engine import optim
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.numerics import DTYPES, settle
from ssar.engine.plan import plan
from ssar.methods import method_class
from ssar.methods.base import Batch, Method, View
from ssar.runtime import Runtime

CLASSES = 101
VIEW = View("labelled", "rgb", "weak")
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Peak memory in MiB since the object was made: allocated on the GPU, else resident in the process."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            RESET.write_text("5")

    def mib(self) -> float:
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024


class Measured(NamedTuple):
    """What the blocks of one loop took."""

    seconds: list[float]  # of a step, for each block
    memory: float  # largest peak of a block, MiB


def add_options(parser: argparse.ArgumentParser, batch: int, steps: int) -> None:
    """The network, its clips, and how long to measure; `batch` and `steps` are defaults."""
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true", choices=sorted(set(DTYPES) - {"16-mixed"}))
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--width", type=float, default=0.25, help="1.0 is the papers' scale, for a GPU")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="224 is the papers' scale, for a GPU")
    parser.add_argument("--batch", type=int, default=batch, help="clips of a batch")
    parser.add_argument("--steps", type=int, default=steps, help="steps of a block")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each, after one to warm up")


def random_clips(options: argparse.Namespace, count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips and labels on the device."""
    clips = torch.randn(count, 3, options.frames, options.size, options.size, device=device)
    return clips, torch.randint(CLASSES, (count,), device=device)


def settings(options: argparse.Namespace) -> RunConfig:
    """LTG's optimisation of a supervised run."""
    return parse_run(
        json.dumps(
            {
                "method": "supervised",
                "version": 1,
                "dataset": "made-up",
                "data": {},
                "labels": {"protocol": "all"},
                "model": {"depth": options.depth, "width": options.width},
                "optim": {"lr": 0.01, "weight_decay": 1e-4, "clip_norm": 40.0},
                "train": {"steps": options.steps, "labelled": options.batch},
                "precision": options.precision,
                "channels_last": options.channels_last,
                "options": {},
            }
        )
    )


def bare_loop(method: Method, config: RunConfig, batch: Batch, device: torch.device) -> Callable[[], None]:
    """The loop that anybody would write for one run, without logs, checks or resuming."""
    optimizer = optim.build(config.optim, method)
    (clips,) = batch.clips.values()
    dtype, mixed = DTYPES[config.precision], config.precision != "32-true"
    criterion = torch.nn.CrossEntropyLoss()

    def run() -> None:
        method.train()
        for _ in range(config.train.steps or 0):
            with torch.autocast(device.type, dtype=dtype, enabled=mixed):
                loss = criterion(method.predictor(clips), batch.label)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(method.parameters(), config.optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def our_loop(
    fabric: Fabric, method: Method, config: RunConfig, batches: Sequence[Batch], curves: Curves, folder: Path
) -> Callable[[], None]:
    """The project's loop over batches that come again and again, with its logs, checks and clocks."""
    total = plan(config, 1000, 1000, devices=1)
    loop = Loop(fabric, method, config, total, Runtime(), Checkpoints(folder, "benchmark"), curves, Interrupt())

    def run() -> None:
        loop.step = 0
        loop.run(itertools.cycle(batches), lambda batch, epoch: (batch, ["made-up"]))

    return run


def alternate(
    runs: Mapping[str, Callable[[], None]], options: argparse.Namespace, device: torch.device
) -> dict[str, Measured]:
    """Time blocks of steps in turns; the first of each is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    memory = dict.fromkeys(runs, 0.0)
    for block in range(options.blocks + 1):
        for name, run in runs.items():
            peak, start = Peak(device), time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if block:
                seconds[name].append((time.perf_counter() - start) / options.steps)
                memory[name] = max(memory[name], peak.mib())
    return {name: Measured(seconds[name], memory[name]) for name in runs}


def ratio(found: Measured, reference: Measured) -> float:
    """Of the times, as the median over the blocks."""
    return statistics.median(own / other for own, other in zip(found.seconds, reference.seconds, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, batch=8, steps=20)
    options = parser.parse_args()

    config = settings(options)
    fabric = Fabric(accelerator=options.accelerator, devices=1, precision=config.precision)
    device = fabric.device
    torch.backends.cudnn.benchmark = True
    clips, label = random_clips(options, options.batch, device)
    batch = Batch({VIEW: clips}, label, None, 0.0)
    methods = [method_class("supervised")(config, CLASSES) for _ in range(2)]
    for method in methods:
        fabric.to_device(method)
        settle(fabric, method, config, Runtime(), batch, known=())

    with tempfile.TemporaryDirectory() as folder:
        curves = Curves(Path(folder) / "tensorboard")
        loops = {
            "bare": bare_loop(methods[0], config, batch, device),
            "ssar": our_loop(fabric, methods[1], config, [batch], curves, Path(folder)),
        }
        found = alternate(loops, options, device)
        curves.close()
    for name, (seconds, memory) in found.items():
        print(f"{name}: {statistics.median(seconds):.4f} s/step, peak memory {memory:.0f} MiB")
    bare, ours = found["bare"], found["ssar"]
    print(f"ssar / bare: time {ratio(ours, bare):.3f}, peak memory {ours.memory / bare.memory:.3f}")


if __name__ == "__main__":
    main()
