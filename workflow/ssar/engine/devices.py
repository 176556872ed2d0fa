"""The Fabric of a run: devices, precision and processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from ssar.config import RunConfig
from ssar.errors import UserError
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def launched(config: RunConfig, runtime: Runtime) -> Fabric:
    """Fabric on the devices that were asked for, its processes started.

    Raises UserError for devices that are not there or a precision that they lack.
    """
    # imported here: it takes seconds, and evaluation shares this package
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    # a batch job of one task carries SLURM's variables, too, but nobody has started processes for it
    alone = int(os.environ.get("SLURM_NTASKS", "1")) == 1 and "TORCHELASTIC_RUN_ID" not in os.environ
    try:
        fabric = Fabric(
            accelerator=runtime.accelerator,
            devices=runtime.devices,
            strategy="ddp" if runtime.devices > 1 else "auto",
            precision=config.precision,
            plugins=[LightningEnvironment()] if alone else None,
        )
    except (MisconfigurationException, ValueError) as error:
        raise UserError(
            f"runtime.accelerator {runtime.accelerator!r} with runtime.devices {runtime.devices}: {error}"
        ) from error
    if config.precision == "16-mixed" and fabric.device.type == "cpu":
        raise UserError("precision 16-mixed needs a GPU; take bf16-mixed or 32-true on the CPU")
    fabric.launch()
    if fabric.world_size != runtime.devices:
        raise UserError(f"{fabric.world_size} processes were started for runtime.devices {runtime.devices}")
    # clips of one size throughout: the search for the fastest convolution pays
    torch.backends.cudnn.benchmark = True
    return fabric
