"""The engine of a node: the one it is given, with builds that take long handed to a child process.

Made once by `api.assembly`; `shard` sees an `Engine`. What is built in the node itself is done within a second. One
child at a time: who wants to build takes its `turn` first, on the event loop, because threads that waited there would
be missing elsewhere. Flushes never do: their indexes are quick ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vectorfleet.schema import IndexKind, Metric, VectorSchema
from vectorfleet_node.engine.builder import child, kept
from vectorfleet_node.engine.builder.messages import BuildRequest, Event
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Build, BuildCancelled, BuildFailed, BuildJob, Choice, Floats, Index

HEAVY: Final = 1_000_000  # components: a graph over fewer takes half a second, about as long as a process to start
CHECKPOINT_SECONDS: Final = 30.0


@dataclass(frozen=True)
class BuildEnd:
    """What became of a build in a child.

    outcome: built, resumed (from `resumed` rows on, of a build that was killed), reused, cancelled or failed.
    """

    kind: IndexKind
    rows: int
    dimensions: int
    outcome: str
    seconds: float
    resumed: int = 0
    problem: str = ""


def _ignore() -> None:
    pass


def _ignore_end(_: BuildEnd) -> None:
    pass


@dataclass(frozen=True)
class BuildObserver:
    """Told of builds in children, in their threads, for metrics and logs."""

    started: Callable[[], None] = _ignore
    ended: Callable[[BuildEnd], None] = _ignore_end


class ProcessEngine:
    """`port.Engine`: `engine`, with heavy builds in children.

    cache: the node's; what builds leave for later ones is in a folder of it. checkpoint_seconds: between two
    checkpoints of one build at least.
    """

    def __init__(
        self,
        engine: CpuEngine,
        cache: Path,
        observer: BuildObserver | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self._engine = engine
        self._folder = cache / kept.FOLDER
        self._observer = observer or BuildObserver()
        self._checkpoint_seconds = checkpoint_seconds
        self._turn = asyncio.Lock()
        kept.tidy(self._folder, starting=True)

    def choose(self, vector: VectorSchema, rows: int, kinds: Collection[IndexKind], *, quick: bool = False) -> Choice:
        """See `port.Engine.choose`."""
        return self._engine.choose(vector, rows, kinds, quick=quick)

    def turn(self, builds: Iterable[Build]) -> AbstractAsyncContextManager[object]:
        """See `port.Engine.turn`."""
        return self._turn if any(map(_heavy, builds)) else nullcontext()

    def build(
        self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, job: BuildJob | None = None
    ) -> Index:
        """See `port.Engine.build`."""
        if job is None or not _heavy(Build(kind, *vectors.shape)):
            return self._engine.build(kind, vectors, metric, artefact)
        rows, dimensions = vectors.shape
        self._folder.mkdir(parents=True, exist_ok=True)
        request = BuildRequest(
            kind=kind,
            metric=metric,
            rows=rows,
            dimensions=dimensions,
            vectors=job.vectors.absolute(),
            artefact=artefact.absolute(),
            folder=self._folder.absolute(),
            threads=self._engine.build_threads,
            checkpoint_seconds=self._checkpoint_seconds,
        )
        self._run(request, job)
        return self.load(kind, vectors, metric, artefact)

    def load(self, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, size: int | None = None) -> Index:
        """See `port.Engine.load`."""
        return self._engine.load(kind, vectors, metric, artefact, size)

    def _run(self, request: BuildRequest, job: BuildJob) -> None:
        began, seen = time.monotonic(), dict[str, int]()

        def tell(event: Event) -> None:
            seen[event.event] = event.rows
            job.progress(event.rows, request.rows)

        def end(outcome: str, problem: str = "") -> None:
            took = time.monotonic() - began
            resumed = seen.get("resumed", 0)
            self._observer.ended(
                BuildEnd(request.kind, request.rows, request.dimensions, outcome, took, resumed, problem)
            )

        self._observer.started()
        try:
            child.run(request, job.cancelled, tell)
        except BuildCancelled as error:
            end("cancelled", str(error))
            raise
        except (BuildFailed, OSError) as error:
            end("failed", str(error))
            raise BuildFailed(
                f"{request.kind} index over {request.rows} x {request.dimensions} cannot be built: {error}"
            ) from None
        end(next((outcome for outcome in ("reused", "resumed") if outcome in seen), "built"))


def _heavy(build: Build) -> bool:
    return build.kind is not IndexKind.EXACT and build.rows * build.dimensions >= HEAVY
