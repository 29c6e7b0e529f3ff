"""Several peers over one data set, loaded and tuned to the same recall. Used by the parts that compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.search.measures import Tuned, comparable
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import Stage, Worker
from benchmarks.search.settings import BAND, WANTED


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


def target(first: Tuned) -> float:
    """What all are tuned to: WANTED, or what the first one finds at its least effort for that, if beyond the band."""
    return first.recall if first.recall > WANTED + BAND else WANTED


def line_up(prepared: Stage, names: Sequence[str], ask: Ask, console: Console) -> list[Ready]:
    """Starts the peers in this order; the first, which is ours, sets the recall."""
    ready: list[Ready] = []
    for name in names:
        console.print(f"{name} is loaded and tuned", style="dim")
        worker, load = prepared.start(name)
        worker.serve(split())
        wanted = ready[0].wanted if ready else WANTED
        tuned_ask, tuned = worker.tuned(ask, wanted)
        ready.append(Ready(worker, tuned_ask, tuned, wanted if ready else target(tuned), load))
    return ready
