"""What a segment writer leaves behind when it does not finish."""

from __future__ import annotations

from pathlib import Path

import pytest
from replicas import SCHEMA, UID, contents, ids, upsert
from sealing import seal, writer_in

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import BuildJob, Floats
from vectorfleet_node.shard.batch import encode as encode_rows
from vectorfleet_node.shard.leadership import entry_of, next_record
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.record import Batch, BatchRequest, Body, Fence


def state_with_rows() -> ShardState:
    new_id, state = ids("writing"), ShardState(SCHEMA)
    bodies: list[Body] = [
        Fence("o", "o:1", 2),
        Batch((BatchRequest(new_id(), encode_rows(upsert(["a", "b"], 0).rows)),)),
    ]
    for body in bodies:
        epoch = state.epoch + isinstance(body, Fence)
        state.apply(entry_of(next_record(UID, 0, state, epoch, body, new_id(), 0.0)))
    return state


def test_an_index_that_cannot_be_built_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(
        self: CpuEngine, kind: IndexKind, vectors: Floats, metric: Metric, artefact: Path, job: BuildJob | None
    ) -> None:
        artefact.write_bytes(b"half")
        raise OSError("No space left on device")

    state, writer = state_with_rows(), writer_in(tmp_path)
    rows = contents(state.snapshot())
    with monkeypatch.context() as broken:
        broken.setattr(CpuEngine, "build", killed)
        with pytest.raises(OSError, match="No space left"):
            seal(state, writer)
    assert list(tmp_path.iterdir()) == []
    seal(state, writer)
    assert contents(state.snapshot()) == rows
