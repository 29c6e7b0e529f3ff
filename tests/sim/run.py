"""Runs seeds, in one process or several, for `__main__` and the tests. `run_seeds` tells whether a mutant lives."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pyarrow as pa

from vectorfleet_node.shard import collector, requests
from vectorfleet_node.storage import log as logs

from .violation import Violation
from .world import World

CI_SECONDS: Final = 120.0
CI_SEEDS: Final = 1000
_COLLECT_EVERY: Final = 5  # runs of a process: the automatic collection is off, it costs more
_RUNS: Final = count(1)  # of this process: each leaves some fifty mapped files, and a process may have only so many
_TMPFS: Final = Path("/dev/shm")


@dataclass(frozen=True)
class Outcome:
    """What a run was like. seconds: virtual ones. violation: empty when all promises held."""

    seed: int
    calls: int
    seconds: float
    digest: str
    events: Counter[str]
    violation: str


@dataclass
class Summary:
    """Of many runs. fewest_calls: store calls of the shortest run."""

    seeds: int = 0
    calls: int = 0
    fewest_calls: int = 1 << 62
    events: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0  # of real time

    def add(self, outcome: Outcome) -> None:
        """One more run."""
        self.seeds += 1
        self.calls += outcome.calls
        self.events += outcome.events
        if outcome.violation:
            self.broken.append(outcome)
        else:
            self.fewest_calls = min(self.fewest_calls, outcome.calls)

    def join(self, other: Summary) -> None:
        """The runs of another process."""
        self.seeds += other.seeds
        self.calls += other.calls
        self.fewest_calls = min(self.fewest_calls, other.fewest_calls)
        self.events += other.events
        self.broken += other.broken
        self.seconds = max(self.seconds, other.seconds)


def prepare() -> None:
    """Makes the product's sizes small, so that rare things happen in a short run. Once in a process."""
    for module in (logs, collector):
        module.SMALL_BLOCK, module.LARGE_BLOCK = 2, 8  # type: ignore[attr-defined]
    requests.CAPACITY = 12  # type: ignore[misc]
    logging.disable()
    pa.set_cpu_count(1)
    gc.collect()
    gc.freeze()
    gc.disable()


def run_seed(seed: int, show: Callable[[str], None] | None = None) -> Outcome:
    """One run; a Violation is in the outcome. show: gets what happens, line by line."""
    scratch = _TMPFS if os.access(_TMPFS, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="vectorfleet-sim-", dir=scratch) as folder:
        world = World(seed, Path(folder), show)
        violation = ""
        try:
            world.run()
        except Violation as broken:
            violation = str(broken)
        except Exception as error:  # noqa: BLE001 - whatever it is, its seed must be told
            violation = f"the simulation failed: {error!r}"
        finally:
            world.loop.close()
            if next(_RUNS) % _COLLECT_EVERY == 0:
                gc.collect()
    return Outcome(seed, world.network.calls, world.loop.time(), world.trace.digest, world.events, violation)


def run_seeds(seeds: Iterable[int]) -> Outcome | None:
    """The first of the seeds that breaks a promise, None when none does."""
    prepare()
    return next((outcome for seed in seeds if (outcome := run_seed(seed)).violation), None)


def run_for(seconds: float, first: int, processes: int, at_least: int = 0) -> Summary:
    """Runs the seeds from `first` on for that long and until there were `at_least`, or until a promise is broken."""
    summary = Summary()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        shares = [
            pool.submit(_run_share, seconds, -(-at_least // processes), first + number, processes)
            for number in range(processes)
        ]
        for share in shares:
            summary.join(share.result())
    return summary


def describe(summary: Summary) -> str:
    """How much was run, and for each broken promise how to see it again."""
    lines = [
        f"{summary.seeds} seeds in {summary.seconds:.0f} s, {summary.calls} store calls, "
        f"at least {summary.fewest_calls} in each"
    ]
    for outcome in summary.broken:
        lines.append(f"seed {outcome.seed}: {outcome.violation}")
        lines.append(f"    see it again: python -m tests.sim --seed {outcome.seed} --trace")
    return "\n".join(lines)


def _run_share(seconds: float, at_least: int, first: int, step: int) -> Summary:
    began, summary = time.monotonic(), Summary()
    prepare()
    for seed in count(first, step):
        summary.add(run_seed(seed))
        summary.seconds = time.monotonic() - began
        if summary.broken or (summary.seconds >= seconds and summary.seeds >= at_least):
            return summary
    raise AssertionError("there are always more seeds")
