"""Speed, memory and arithmetic of a training step of each method, on random clips.

    python benchmarks/methods.py                                        # small networks, on any machine
    python benchmarks/methods.py --methods ltg cmpl --width 1 --size 224 --depth 18 --precision bf16-mixed

Each method takes its views, windows and options from config/methods and has a process to itself, so that the memory
is its own. A step is split where it can be split without changing it: `forward` is `loss`, with the passes of
teachers; `backward` is that of the weighted sum of the terms; `optimiser` its step; `after` is `after_step`, with
moving averages and banks. The device is synchronised at each border. The terms share their passes, so that the time
of a single one is no part of the sum, and is not given. All is of the fastest of the steps: other load only adds.

`x` is the time of a step over that of `supervised` with the same kind of network, labelled clips and machine. Model
FLOPs are those of the matrix products and convolutions of forward and backward, as PyTorch counts them; their rate is
given as a share of the device's dense bfloat16 peak where that is known. Memory is what the step needs above the
process before there was a network; on a GPU, what was allocated.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssar.config import RunConfig, canonical, run_model
from ssar.engine import optim
from ssar.engine.layout import channels_last
from ssar.engine.numerics import DTYPES
from ssar.engine.weights import save_model
from ssar.errors import UserError
from ssar.evaluation.scores import Similarity, write_scores
from ssar.layers import Layer, validate
from ssar.methods import METHODS, method_class
from ssar.methods.base import Batch, Method, View
from ssar.yamlfile import read_yaml

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "supervised"
PHASES = ("forward", "backward", "optimiser", "after")
CLASSES = 101
PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312}
"""Dense bfloat16 peak by a part of the device's name, the first that fits (NVIDIA's data sheets)."""


def settings(name: str, options: argparse.Namespace, arch: str | None = None) -> RunConfig:
    """The method's yaml at the benchmark's size; `arch` replaces its kind of network."""
    file = ROOT / "config" / "methods" / f"{name}.yaml"
    values = read_yaml(file)
    values.pop("variants", None)
    size = {
        "dataset": "random",
        "data": {},
        "labels": {"protocol": "all"},
        "clip.frames": options.frames,
        "model.depth": options.depth,
        "model.width": options.width,
        "model.vit": {
            "dim": round(64 * options.width) * 12,  # ViT-B's, times the width
            "patch": min(16, options.size),
            "size": options.size,
            "frames": options.frames,
            "pretrained": None,
        },
        "train.labelled": options.batch,
        "train.unlabelled": options.batch,
        "train.global_labelled": options.batch,
        "precision": options.precision,
        "channels_last": options.channels_last,
        "compile": options.compile,
    }
    if arch is not None:
        size["model.arch"] = arch
    return validate(run_model(name), [Layer(values, file), Layer(size, file, dotted=True)], name)


def random_batch(method: Method, options: argparse.Namespace) -> Batch:
    """Normal noise for every view, after all warm-ups."""
    device, clip = options.device, method.config.clip

    def clips(view: View) -> torch.Tensor:
        windows = method.config.options.windows(view.stream, clip.frames, clip.stride)
        frames = {"main": clip.frames} | {window.name: window.frames for window in windows}
        return torch.randn(options.batch, 3, frames[view.clip], options.size, options.size, device=device)

    label = torch.randint(CLASSES, (options.batch,), device=device)
    return Batch(
        clips={view: clips(view) for view in method.views},
        label=label if method.config.options.needs_labelled else label[:0],
        truth=None,
        epoch=1e9,
        video={stream: torch.arange(options.batch, device=device) for stream in ("labelled", "unlabelled")},
    )


def upstream(config: RunConfig, videos: list[str], folder: Path) -> dict[str, Path]:
    """Freshly initialised networks, and random similarity scores, in the roles that other runs play."""
    values = config.model_dump(exclude={"options", "method", "upstream"}, exclude_defaults=True)
    own = run_model(REFERENCE).model_validate({**values, "method": REFERENCE, "options": {}})
    paths = {role: folder / f"{role}.pt" for role in config.options.roles}
    for role, path in paths.items():
        if role == "scores":
            each, pairs = np.random.default_rng(0).uniform(size=len(videos)), np.zeros((len(videos), 2, 1, 1))
            write_scores(path, Similarity(np.array(videos), pairs, pairs, each, each, [canonical(own)] * 2))
        else:
            method = method_class(REFERENCE)(own, CLASSES)
            save_model(path, own, [str(number) for number in range(CLASSES)], method, method.predictor)
    return paths


def measure(config: RunConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each part of a step, clips and FLOPs of it, and the memory that it needs."""
    cuda = options.device.startswith("cuda")
    before = psutil.Process().memory_info().rss
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    method = method_class(config.method)(config, CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        videos = [f"{i}.avi" for i in range(options.batch)]
        method.start(upstream(config, videos, Path(folder)), {"labelled": videos, "unlabelled": videos})
    method.to(options.device).train()
    if config.channels_last:
        channels_last(method)
    if config.compile:
        method.compile()
    batch = random_batch(method, options)
    optimiser = optim.build(config.optim, method)
    dtype, weights = DTYPES[config.precision], method.weights(batch.epoch)
    number = 0

    def forward() -> torch.Tensor:
        with torch.autocast(options.device.partition(":")[0], dtype=dtype, enabled=dtype != torch.float32):
            terms = method.loss(batch)
            return torch.stack([weights[name] * term for name, term in terms.items()]).sum()

    def update() -> None:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def step() -> dict[str, float]:
        nonlocal number
        clocks = [now()]
        loss = forward()
        parts: tuple[Callable[[], object], ...] = (loss.backward, update, lambda: method.after_step(number))
        clocks.append(now())
        for part in parts:
            part()
            clocks.append(now())
        number += 1
        return dict(zip(PHASES, (b - a for a, b in itertools.pairwise(clocks)), strict=True))

    def now() -> float:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    with FlopCounterMode(display=False) as counter:
        forward().backward()
    update()
    method.after_step(number)
    for _ in range(options.warmup):
        step()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    fastest = min((step() for _ in range(options.steps)), key=lambda each: sum(each.values()))
    peak = torch.cuda.max_memory_allocated() if cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": fastest,
        "step": sum(fastest.values()),
        "clips": sum(len(clip) for clip in batch.clips.values()),
        "flops": counter.get_total_flops(),
        "memory": peak if cuda else peak - before,
        "device": torch.cuda.get_device_name() if cuda else "CPU",
    }


def answer(connection: Connection, config: RunConfig, options: argparse.Namespace) -> None:
    """What runs in a method's process: send what was measured, or why nothing was."""
    try:
        connection.send(measure(config, options))
    except UserError as error:
        connection.send(str(error))


def in_a_process(config: RunConfig, options: argparse.Namespace) -> dict[str, Any] | str:
    """What `measure` finds, in a process of its own; or why it finds nothing."""
    # forked, so that torch is imported once; this process computes nothing, and starts no threads that a fork loses
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(sender, config, options))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] | str = receiver.recv()
    except EOFError:
        result = "its process ended without a result"
    process.join()
    return result


def row(name: str, result: dict[str, Any], reference: dict[str, Any] | None, mixed: bool) -> str:
    """One line of the table."""
    step = result["step"]
    shares = " ".join(f"{100 * result['seconds'][phase] / step:9.0f}%" for phase in PHASES)
    rate = result["flops"] / step
    peak = next((peak for part, peak in PEAK_TFLOPS.items() if part in result["device"]), None)
    used = f"{rate / 1e9:8.1f} GFLOP/s" if peak is None or not mixed else f"{rate / peak / 1e10:8.1f}% of peak"
    ratio = f"{step / reference['step']:6.2f}" if reference else "     -"
    return (
        f"{name:22} {result['clips'] / step:8.1f} {1000 * step:9.1f} {ratio} {shares} "
        f"{result['memory'] / 2**20:8.0f} {result['flops'] / 1e9:10.2f} {used}"
    )


def compare(options: argparse.Namespace) -> None:
    """Measure the reference and each method, and print a line of each as it is known."""
    print(f"{options.batch} videos of each stream; main clips of {options.frames} x {options.size} x {options.size}")
    print(f"ResNets of {options.depth} layers; width {options.width}; {options.precision} on {options.device}")
    head = f"{'method':22} {'clips/s':>8} {'ms/step':>9} {'x':>6} " + " ".join(f"{phase:>10}" for phase in PHASES)
    print(f"{head} {'MiB':>8} {'GFLOP/step':>10}")
    runs = [settings(name, options) for name in options.methods]
    for arch in dict.fromkeys(run.model.arch for run in runs):
        reference = None
        others = [run for run in runs if run.model.arch == arch and run.method != REFERENCE]
        for run in [settings(REFERENCE, options, arch), *others]:
            name = run.method if run.method != REFERENCE else f"{REFERENCE} ({arch})"
            result = in_a_process(run, options)
            if isinstance(result, str):
                print(f"{name:22} left out: {result}", flush=True)
                continue
            if run.method == REFERENCE:
                reference = result
            print(row(name, result, reference, options.precision == "bf16-mixed"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--device", default="cuda" if torch.cuda.device_count() else "cpu")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--depth", type=int, default=10, help="18 and 50 are the papers'")
    parser.add_argument("--width", type=float, default=0.25, help="1.0 is the papers' scale, for a GPU")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=32, help="224 is the papers' scale, for a GPU")
    parser.add_argument("--batch", type=int, default=8, help="videos of each stream")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=1)
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
