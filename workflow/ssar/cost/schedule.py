"""When a number of jobs is done that wait for each other and for devices."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """A job's length in seconds, how many devices (or cores) it holds, and the jobs that it waits for."""

    seconds: float
    holds: int
    needs: Sequence[str] = ()


def makespan(jobs: Mapping[str, Timed], places: int) -> float:
    """Seconds until all are done on `places` devices, the job with the longest way to the end first.

    A job that holds more than there are takes them all; one that holds none waits for its needs alone. Never below the
    longest chain nor the work divided by the places.
    """
    tails: dict[str, float] = {}
    followers: dict[str, list[str]] = {key: [] for key in jobs}
    waiting = {key: sum(need in jobs for need in job.needs) for key, job in jobs.items()}
    for key, job in jobs.items():
        for need in job.needs:
            if need in jobs:
                followers[need].append(key)

    def tail(key: str) -> float:
        if key not in tails:
            tails[key] = jobs[key].seconds + max(map(tail, followers[key]), default=0.0)
        return tails[key]

    ready = [(-tail(key), key) for key, count in waiting.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now, free = 0.0, places
    while ready or running:
        held = []
        while ready:
            _, key = entry = heapq.heappop(ready)
            wanted = min(jobs[key].holds, places)
            if wanted > free:
                held.append(entry)
                continue
            free -= wanted
            heapq.heappush(running, (now + jobs[key].seconds, key))
        for entry in held:
            heapq.heappush(ready, entry)
        now, done = heapq.heappop(running)
        free += min(jobs[done].holds, places)
        for key in followers[done]:
            waiting[key] -= 1
            if not waiting[key]:
                heapq.heappush(ready, (-tail(key), key))
    return now


def chain(jobs: Mapping[str, Timed]) -> float:
    """Seconds of the longest chain."""
    ends: dict[str, float] = {}

    def end(key: str) -> float:
        if key not in ends:
            ends[key] = jobs[key].seconds + max((end(need) for need in jobs[key].needs if need in jobs), default=0.0)
        return ends[key]

    return max(map(end, jobs), default=0.0)
