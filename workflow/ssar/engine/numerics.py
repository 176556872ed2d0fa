"""What a failed numeric self-test leads to: the layers at fault in fp32, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ssar.config import RunConfig
from ssar.engine.layout import channels_last
from ssar.engine.selftest import keep_in_fp32, mismatches
from ssar.errors import UserError
from ssar.methods.base import Batch, Method
from ssar.progress import note
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

SMALL = 4
"""Clips of each view that the self-test looks at."""


def settle(
    fabric: Fabric, method: Method, config: RunConfig, runtime: Runtime, batch: Batch | None, known: Sequence[str]
) -> dict[str, Any]:
    """Bring a method into the run's memory format, with the layers in fp32 that fail the numeric self-test.

    `batch`: a real one, of which a few clips serve; None: no step is left to train, nothing is tested.
    `known`: layers that an earlier attempt of this run kept in fp32; so does this one, to continue as it began.
    Returns what run.json tells. Raises UserError naming the layers where the runtime says to refuse.
    """
    dtype = DTYPES[config.precision]
    setting = f"{config.precision}{', channels_last' if config.channels_last else ''}"
    lines: list[str] = []
    layers = list(known)
    # fp32 in the default format is what the test compares with
    if batch is not None and runtime.self_test != "off" and (dtype != torch.float32 or config.channels_last):
        # said before: a kernel that writes past its memory ends the process here, rather than hours later
        note(f"numeric self-test of {setting}")
        clips = {view: clip[:SMALL] for view, clip in batch.clips.items()}
        truth = None if batch.truth is None else batch.truth[:SMALL]
        video = {stream: places[:SMALL] for stream, places in batch.video.items()}
        small = Batch(clips, batch.label[:SMALL], truth, batch.epoch, video)
        found = mismatches(method, lambda probe: probe.loss(small), dtype, config.channels_last)
        found = fabric.broadcast(found)  # one verdict for all processes
        lines = [str(mismatch) for mismatch in found]
        layers = list(dict.fromkeys([*known, *(mismatch.layer for mismatch in found)]))
    if lines and runtime.self_test == "refuse":
        raise UserError.of(
            f"the numeric self-test of {setting} failed on this machine; choose `precision: 32-true`, or "
            f"`runtime.self_test: fallback` to compute these layers in fp32",
            lines,
        )
    for line in lines:
        note(f"self-test of {setting}: {line}; this layer computes in fp32")
    if config.channels_last:
        channels_last(method)
    keep_in_fp32(method, layers)
    return {"setting": runtime.self_test, "mismatches": lines, "layers_in_fp32": layers}
