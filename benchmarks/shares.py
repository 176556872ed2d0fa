"""Time and memory of a step that is made of shares, beside the same clips as one batch in plain PyTorch.

    python benchmarks/shares.py                      # on the GPU where there is one
    python benchmarks/shares.py --accelerator cpu --width 0.25 --size 56

A supervised step of `--shares` shares on one device: one after the other (`batch_norm: share`), or side by side with
statistics of all (`batch_norm: step`). Blocks of steps alternate, so that a change of the machine's speed meets all.
Prints the median seconds per step, their ratios to the one batch (medians over blocks), and the peak memory.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import torch
from lightning_fabric import Fabric
from loop import Peak, settings

from ssar.config import RunConfig
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.numerics import DTYPES, settle
from ssar.engine.plan import plan
from ssar.methods import method_class
from ssar.methods.base import Batch, View
from ssar.models.batch_statistics import convert
from ssar.runtime import Runtime

VIEW = View("labelled", "rgb", "weak")


def runner(
    fabric: Fabric, config: RunConfig, clips: torch.Tensor, label: torch.Tensor, folder: Path
) -> Callable[[], None]:
    """A block of steps of the project's loop on clips that lie decoded on the device."""
    method = method_class("supervised")(config, 101)
    if config.train.shares > 1:
        convert(method, config.train.batch_norm)
    fabric.to_device(method)
    count = config.train.labelled
    shares = [Batch({VIEW: clips[i : i + count]}, label[i : i + count], None, 0.0) for i in range(0, len(clips), count)]
    settle(fabric, method, config, Runtime(), shares[0], known=())
    total = plan(config, 1000, 1000, devices=1)
    loop = Loop(fabric, method, config, total, Runtime(), Checkpoints(folder, "benchmark"), Curves(None), Interrupt())

    def run() -> None:
        loop.step = 0
        loop.run(itertools.cycle(shares), lambda batch, epoch: (batch, ["made-up"]))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true", choices=sorted(set(DTYPES) - {"16-mixed"}))
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--width", type=float, default=0.25, help="1.0 is the papers' scale, for a GPU")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="224 is the papers' scale, for a GPU")
    parser.add_argument("--batch", type=int, default=5, help="clips of a share")
    parser.add_argument("--shares", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="steps of a block")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each, after one to warm up")
    options = parser.parse_args()

    base = settings(options)
    fabric = Fabric(accelerator=options.accelerator, devices=1, precision=base.precision)
    device = fabric.device
    torch.backends.cudnn.benchmark = True
    number = options.shares * options.batch
    clips = torch.randn(number, 3, options.frames, options.size, options.size, device=device)
    label = torch.randint(101, (number,), device=device)
    kinds = {
        "one batch": {"labelled": number},
        "one after the other": {"global_labelled": number, "batch_norm": "share"},
        "side by side": {"global_labelled": number, "batch_norm": "step"},
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    memory: dict[str, float] = dict.fromkeys(kinds, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, changes in kinds.items():
            config = base.model_copy(update={"train": base.train.model_copy(update=changes)})
            runs[name] = runner(fabric, config, clips, label, Path(folder))
        for block in range(options.blocks + 1):
            for name, run in runs.items():
                peak, start = Peak(device), time.perf_counter()
                run()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if block:
                    seconds[name].append((time.perf_counter() - start) / options.steps)
                    memory[name] = max(memory[name], peak.mib())
    for name, found in seconds.items():
        ratio = statistics.median(own / one for own, one in zip(found, seconds["one batch"], strict=True))
        line = f"{name}: {statistics.median(found):.4f} s/step, {ratio:.3f} of one batch"
        print(f"{line}, peak memory {memory[name]:.0f} MiB")


if __name__ == "__main__":
    main()
