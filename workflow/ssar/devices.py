"""How many devices and nodes each training has: as many of those in `runtime` and `devices` as can share its steps."""

from __future__ import annotations

import itertools

from ssar.config import RunConfig
from ssar.engine.plan import divides
from ssar.grid import Grid
from ssar.project import Devices
from ssar.runtime import Runtime


def runtimes(grid: Grid) -> dict[str, Runtime]:
    """The Runtime of each run, by its id.

    The scopes of the key `devices` count in the order `all`, method, variant, `paper/variant`; the later wins. A run
    that several variants share gets the largest number of devices that one of them wants; none gets more than divide
    the shares of a step among them.
    """
    wishes, base = grid.project.devices, grid.project.runtime
    if not wishes and base.world == 1:
        return dict.fromkeys(grid.runs, base)
    found: dict[str, Runtime] = {}
    for paper, variant, setting in grid.selected():
        method = grid.papers[paper].experiments[variant].method
        scopes = ("all", method, variant, f"{paper}/{variant}")
        wanted = _changed(base, [wishes[scope] for scope in scopes if scope in wishes])
        for run in grid.select(paper, variant, setting):
            runtime = fitting(wanted, run.config)
            found[run.id] = max(found.get(run.id, runtime), runtime, key=lambda one: (one.world, one.devices))
    return found


def fitting(runtime: Runtime, config: RunConfig) -> Runtime:
    """The Runtime with as many of its devices as divide the shares of the run's steps; of equals, on fewer nodes."""
    if divides(config, runtime.world):
        return runtime
    choices = itertools.product(range(1, runtime.nodes + 1), range(1, runtime.devices + 1))
    possible = [(nodes, devices) for nodes, devices in choices if divides(config, nodes * devices)]
    nodes, devices = max(possible, key=lambda pair: (pair[0] * pair[1], -pair[0]))
    return runtime.model_copy(update={"nodes": nodes, "devices": devices})


def _changed(runtime: Runtime, wishes: list[Devices]) -> Runtime:
    update: dict[str, int] = {}
    for wish in wishes:
        update |= wish.model_dump(exclude_none=True)
    return runtime.model_copy(update=update)
