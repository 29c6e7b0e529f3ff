"""Runs seeds. `python -m tests.sim` and the test call it, and whoever wants to know whether a mutant lives."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vectorfleet_node.shard import collector, requests
from vectorfleet_node.storage import log as logs

from .violation import Violation
from .world import World

_TMPFS = Path("/dev/shm")  # noqa: S108: caches of simulated nodes need not survive anything


@dataclass(frozen=True)
class Outcome:
    """What a run was like. seconds: virtual ones. violation: empty when all promises held."""

    seed: int
    calls: int
    seconds: float
    digest: str
    events: Counter[str]
    violation: str


def prepare() -> None:
    """Makes the product's sizes small, so that rare things happen in a short run. Once in a process."""
    for module in (logs, collector):
        module.SMALL_BLOCK, module.LARGE_BLOCK = 4, 16  # type: ignore[attr-defined]
    requests.CAPACITY = 24  # type: ignore[misc]
    logging.disable()
    pa.set_cpu_count(1)
    gc.collect()
    gc.freeze()
    gc.disable()


def run_seed(seed: int, show: Callable[[str], None] | None = None) -> Outcome:
    """One run; a Violation is in the outcome."""
    with tempfile.TemporaryDirectory(prefix="vectorfleet-sim-", dir=_TMPFS if os.access(_TMPFS, os.W_OK) else None) as folder:
        world = World(seed, Path(folder), show)
        violation = ""
        try:
            world.run()
        except Violation as broken:
            violation = str(broken)
        finally:
            world.loop.close()
    return Outcome(seed, world.network.calls, world.loop.time(), world.trace.digest, world.events, violation)


def run_seeds(seeds: Iterable[int]) -> Outcome | None:
    """The first of the seeds that breaks a promise, None when none does."""
    prepare()
    return next((outcome for seed in seeds if (outcome := run_seed(seed)).violation), None)
