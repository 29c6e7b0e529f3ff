"""The child's work: an index of the same content is taken, else it is built, from a checkpoint where there is one.

`__main__` calls it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from vectorfleet_node.engine.builder import kept
from vectorfleet_node.engine.builder.checkpoint import Checkpoint
from vectorfleet_node.engine.builder.messages import BuildRequest, Event
from vectorfleet_node.engine.cpu import CpuEngine

NICENESS: Final = 10
_OOM_SCORE: Final = "500"  # when memory runs out the kernel takes the build, not the node that answers


def be_modest() -> None:
    """Lets everybody else have the CPUs and the memory first."""
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def build(request: BuildRequest, tell: Callable[[Event], None]) -> None:
    """Writes the artefact that is asked for; OSError of the disk."""
    folder, artefact = request.folder, request.artefact
    vectors = np.memmap(request.vectors, np.float32, "r", shape=(request.rows, request.dimensions))
    key = kept.key_of(request, vectors)
    kept.tidy(folder)
    if kept.reuse(folder, key, artefact):
        tell(Event(event="reused", rows=request.rows))
        return
    checkpoint = Checkpoint(
        folder,
        key,
        request.checkpoint_seconds,
        resumed=lambda rows: tell(Event(event="resumed", rows=rows)),
        added_to=lambda rows: tell(Event(event="rows", rows=rows)),
    )
    CpuEngine(request.threads).build(request.kind, vectors, request.metric, artefact, steps=checkpoint)
    kept.keep(folder, key, artefact)
    checkpoint.discard()
