"""Time of ACL's reliability scores (ACL+MTL Eq. 7 to 9) beside a training step of ACL+MTL.

    python benchmarks/mixture.py                                        # on the GPU where there is one
    python benchmarks/mixture.py --device cpu --arch resnet3d --size 56

The step is that of config/methods/acl_mtl.yaml on one batch that lies decoded on the device: passes, gradients, SGD,
teacher and bank. Steps and scores take turns, so that a change of the machine's speed meets both. The scores are of
full banks in which every class has as many clips. Prints the median times and their ratio for each size of the bank.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import torch

from ssar.config import RunConfig, run_model
from ssar.layers import Layer, validate
from ssar.losses.adaptive_contrast import candidates, prototype_similarity, reliability
from ssar.methods.acl_mtl import ACLMTL
from ssar.methods.base import Batch
from ssar.project import CONFIG
from ssar.yamlfile import read_yaml

CLASSES = 101


def settings(options: argparse.Namespace) -> RunConfig:
    """The method's yaml with another network and size."""
    file = CONFIG / "methods" / "acl_mtl.yaml"
    values = read_yaml(file)
    values.pop("variants", None)
    changes: dict[str, Any] = {
        "dataset": "made-up",
        "data": {},
        "labels": {"protocol": "all"},
        "model": {"arch": options.arch, "width": options.width},
    }
    vit = {"model": {"vit": {"dim": 384, "heads": 6, "size": options.size, "pretrained": None}}}
    return validate(run_model("acl_mtl"), [Layer(values, file), Layer(changes, file), Layer(vit, file)], "benchmark")


def training_step(config: RunConfig, size: int, device: torch.device) -> Callable[[], None]:
    method = ACLMTL(config, CLASSES).to(device).train()
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=config.optim.momentum)
    count = {"labelled": config.train.labelled, "unlabelled": config.train.unlabelled}
    clips = {
        view: torch.randn(count[view.stream], 3, config.clip.frames, size, size, device=device) for view in method.views
    }
    label = torch.randint(CLASSES, (count["labelled"],), device=device)
    batch = Batch(clips, label, None, 0.0)

    def step() -> None:
        terms, weights = method.loss(batch), method.weights(0.0)
        torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        method.after_step(0)

    return step


def scores(config: RunConfig, places: int, device: torch.device) -> Callable[[], None]:
    options: Any = config.options
    width, batch = options.projection[1], config.train.unlabelled
    own, bank = torch.randn(batch, width, device=device), torch.randn(places, width, device=device)
    prototype, label = torch.randn(CLASSES, width, device=device), torch.arange(batch, device=device) % CLASSES
    bank_label = torch.arange(places, device=device) % CLASSES
    filled, seen = (torch.ones(n, dtype=torch.bool, device=device) for n in (places, CLASSES))

    def score() -> None:
        reliability(
            prototype_similarity(own, bank, prototype[label]),
            candidates(label, bank_label, filled),
            seen[label],
            least=options.least_candidates,
            unfitted=options.unfitted,
            iterations=options.iterations,
        )

    return score


def seconds(work: Callable[[], None], device: torch.device, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--arch", default="timesformer", choices=["timesformer", "resnet3d"], help="ViT-S or R3D-18")
    parser.add_argument("--width", type=float, default=1.0, help="of the R3D-18")
    parser.add_argument("--size", type=int, default=224, help="side of the clips in pixels")
    parser.add_argument("--banks", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--repeats", type=int, default=10, help="turns, after one to warm up")
    options = parser.parse_args()

    device, config = torch.device(options.device), settings(options)
    works = {"step": training_step(config, options.size, device)}
    works |= {f"{places}": scores(config, places, device) for places in options.banks}
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(options.repeats + 1):
        for name, work in works.items():
            spent = seconds(work, device, times=1 if name == "step" else 5)
            if turn:
                found[name].append(spent)
    step = statistics.median(found.pop("step"))
    print(f"training step ({options.arch}, {options.size} px, {device}): {1e3 * step:.1f} ms")
    for name, spent in found.items():
        median = statistics.median(spent)
        print(f"reliability, bank of {name}: {1e3 * median:.2f} ms, {100 * median / step:.2f} % of the step")


if __name__ == "__main__":
    main()
