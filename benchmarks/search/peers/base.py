"""What every peer of the search benchmarks can do. `worker` calls it; each module beside this one implements it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.search import processes
from benchmarks.search.measures import Floats, Ids

LINKS: Final = 16  # M of every graph
EF_CONSTRUCTION: Final = 200
ALL: Final = 100  # a row's `percent` is below this
NAME: Final = "bench"


@dataclass(frozen=True)
class Ask:
    """A question's shape. effort: of the peer's own scale. below: only rows whose `percent` is below. batch: queries a
    request, for peers that take several.
    """

    k: int = 10
    effort: int = 100
    below: int = ALL
    batch: int = 1


class Peer:
    """One engine with one collection. It is made and used within one event loop.

    blocking: `send` is a plain function, called from threads. efforts: the least and the largest that make sense.
    """

    blocking = False
    efforts: tuple[int, int] = (10, 1000)

    def __init__(self, folder: Path, variant: str, options: dict[str, Any]) -> None:
        self.folder = folder
        self.variant = variant
        self.options = options

    async def load(self, rows: Floats, percent: Ids) -> None:
        """Stores and indexes the rows, keys being their places; returns when searches use the index."""
        raise NotImplementedError

    async def serve(self, cores: Sequence[int]) -> None:
        """From now on it answers on these cores only. Before `connect`."""
        processes.pin(self.pids(), cores)

    async def connect(self, clients: int) -> None:
        """Gets ready for requests by so many clients."""

    def pids(self) -> list[int]:
        """The processes that hold the data; none: the worker itself, being the library's process."""
        return []

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """The queries encoded, `ask.batch` in each request."""
        raise NotImplementedError

    def send(self, request: Any, client: int) -> Any:
        """Asks; an awaitable unless `blocking`. What it gives is only read by `found`. loads.Refused for an error."""
        raise NotImplementedError

    def found(self, answer: Any) -> list[list[int]]:
        """Places of the rows in an answer, best first, for each of its queries."""
        raise NotImplementedError

    async def prepare(self, ask: Ask) -> None:
        """Called before `requests`, for peers whose effort is no part of a request."""

    async def about(self) -> dict[str, Any]:
        """What else the peer tells: kinds of index, bytes of files."""
        return {}

    async def close(self) -> None:
        """Ends what was started."""


def batches(queries: Floats, size: int) -> list[Floats]:
    """The queries in arrays of `size`; the last may have fewer."""
    return [queries[start : start + size] for start in range(0, len(queries), size)]
