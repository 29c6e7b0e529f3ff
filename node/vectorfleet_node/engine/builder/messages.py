"""What node and child say to each other: one JSON object a line, a request to the child, then events from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vectorfleet.schema import Frozen, IndexKind, Metric


class BuildRequest(Frozen):
    """What to build. vectors: a file that begins with (rows, dimensions) float32. artefact: where to write the index.

    folder: for checkpoints and finished artefacts. threads: to build with. checkpoint_seconds: between two checkpoints
    at least.
    """

    kind: IndexKind
    metric: Metric
    rows: int
    dimensions: int
    vectors: Path
    artefact: Path
    folder: Path
    threads: int
    checkpoint_seconds: float


class Event(Frozen):
    """What the child tells.

    reused: an index of the same content is copied. resumed: `rows` of a checkpoint need not be added again. rows:
    `rows` are in. done: the artefact is complete. failed: it never will be, `problem` says why.
    """

    event: Literal["reused", "resumed", "rows", "done", "failed"]
    rows: int = 0
    problem: str = ""
