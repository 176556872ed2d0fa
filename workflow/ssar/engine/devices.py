"""The Fabric of a run: devices, precision and processes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from ssar.config import RunConfig
from ssar.errors import UserError
from ssar.launch import launched_by
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment


def launched(config: RunConfig, runtime: Runtime) -> Fabric:
    """Fabric on the devices that were asked for, its processes started.

    Raises UserError for devices that are not there or a precision that they lack.
    """
    # imported here: it takes seconds, and evaluation shares this package
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    # its successor in newer versions of torch still sends the buffers around once
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    try:
        fabric = Fabric(
            accelerator=runtime.accelerator,
            devices=runtime.devices,
            num_nodes=runtime.nodes,
            # buffers are equal in all processes by construction
            strategy=DDPStrategy(broadcast_buffers=False) if runtime.world > 1 else "auto",
            precision=config.precision,
            plugins=[_environment()],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(
            f"runtime.accelerator {runtime.accelerator!r} with runtime.devices {runtime.devices} and runtime.nodes "
            f"{runtime.nodes}: {error}"
        ) from error
    if config.precision == "16-mixed" and fabric.device.type == "cpu":
        raise UserError("precision 16-mixed needs a GPU; take bf16-mixed or 32-true on the CPU")
    fabric.launch()
    if fabric.world_size != runtime.world:
        raise UserError(
            f"{fabric.world_size} processes were started for runtime.devices {runtime.devices} and runtime.nodes "
            f"{runtime.nodes}"
        )
    # clips of one size throughout: the search for the fastest convolution pays
    torch.backends.cudnn.benchmark = True
    return fabric


def _environment() -> ClusterEnvironment:
    """Who has started the processes, and so knows their ranks.

    Fabric guesses by variables, which a batch job of SLURM carries, too, where nobody has started processes.
    """
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    match launched_by():
        case "torchrun":
            return TorchElasticEnvironment()
        case "srun":
            return SLURMEnvironment(auto_requeue=False)
        case _:
            return LightningEnvironment()
