"""Time and memory of a step that is made of shares, beside the same clips as one batch in plain PyTorch.

    python benchmarks/shares.py                      # on the GPU where there is one
    python benchmarks/shares.py --accelerator cpu --width 0.25 --size 56

A supervised step of `--shares` shares on one device: one after the other (`batch_norm: share`), or side by side with
statistics of all (`batch_norm: step`). Blocks of steps alternate, so that a change of the machine's speed meets all.
Prints the median seconds per step, their ratios to the one batch (medians over blocks), and the peak memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import torch
from lightning_fabric import Fabric
from loop import CLASSES, VIEW, add_options, alternate, our_loop, random_clips, ratio, settings

from ssar.config import RunConfig
from ssar.engine.logs import Curves
from ssar.engine.numerics import settle
from ssar.methods import method_class
from ssar.methods.base import Batch
from ssar.models.batch_statistics import convert
from ssar.runtime import Runtime


def runner(
    fabric: Fabric, config: RunConfig, clips: torch.Tensor, label: torch.Tensor, folder: Path
) -> Callable[[], None]:
    """A block of steps of the project's loop on clips that lie decoded on the device."""
    method = method_class("supervised")(config, CLASSES)
    if config.train.shares > 1:
        convert(method, config.train.batch_norm)
    fabric.to_device(method)
    count = config.train.labelled
    shares = [Batch({VIEW: clips[i : i + count]}, label[i : i + count], None, 0.0) for i in range(0, len(clips), count)]
    settle(fabric, method, config, Runtime(), shares[0], known=())
    return our_loop(fabric, method, config, shares, Curves(None), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, batch=5, steps=4)
    parser.add_argument("--shares", type=int, default=8, help="batches of a step")
    options = parser.parse_args()

    base = settings(options)
    fabric = Fabric(accelerator=options.accelerator, devices=1, precision=base.precision)
    torch.backends.cudnn.benchmark = True
    number = options.shares * options.batch
    clips, label = random_clips(options, number, fabric.device)
    kinds = {
        "one batch": {"labelled": number},
        "one after the other": {"global_labelled": number, "batch_norm": "share"},
        "side by side": {"global_labelled": number, "batch_norm": "step"},
    }
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, changes in kinds.items():
            config = base.model_copy(update={"train": base.train.model_copy(update=changes)})
            runs[name] = runner(fabric, config, clips, label, Path(folder))
        found = alternate(runs, options, fabric.device)
    for name, measured in found.items():
        line = f"{name}: {statistics.median(measured.seconds):.4f} s/step"
        line += f", {ratio(measured, found['one batch']):.3f} of one batch"
        print(f"{line}, peak memory {measured.memory:.0f} MiB")


if __name__ == "__main__":
    main()
