"""Several peers over one data set, loaded and tuned to the same recall. Used by the parts that compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.search.measures import Tuned, comparable
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import Stage, Worker
from benchmarks.search.settings import BAND, HIGHEST, WANTED


@dataclass(frozen=True)
class Ready:
    """A peer that answers on its cores. ask: at the effort found. wanted: the recall that it was tuned to."""

    worker: Worker
    ask: Ask
    tuned: Tuned
    wanted: float
    load_s: float

    @property
    def compared(self) -> bool:
        """Whether its recall is near enough to what all were tuned to."""
        return comparable(self.tuned.recall, self.wanted, BAND)


def target(floors: Sequence[float]) -> float:
    """What all are tuned to: WANTED, or the most that one finds at its least effort, so that it can be compared, too.

    One that finds more than HIGHEST even then is left out of this: it would make everybody else slow.
    """
    return max([WANTED, *(floor for floor in floors if floor <= HIGHEST)])


def line_up(prepared: Stage, names: Sequence[str], ask: Ask, console: Console) -> list[Ready]:
    """Starts the peers in this order, then tunes them."""
    started: list[tuple[Worker, float]] = []
    for name in names:
        console.print(f"{name} is loaded", style="dim")
        worker, load = prepared.start(name)
        worker.serve(split())
        started.append((worker, load))
    wanted = target([worker.floor(ask) for worker, _ in started])
    ready = []
    for worker, load in started:
        console.print(f"{worker.name} is tuned to a recall of {wanted:.3f}", style="dim")
        tuned_ask, tuned = worker.tuned(ask, wanted)
        ready.append(Ready(worker, tuned_ask, tuned, wanted, load))
    return ready
