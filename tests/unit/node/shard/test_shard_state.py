"""The fold of a log: what each record does to the rows, and what a view keeps."""

from __future__ import annotations

import random

import numpy as np
import pytest
from replicas import SCHEMA, UID, contents, ids, located, upsert

from vectorfleet_node.shard import requests as request_table
from vectorfleet_node.shard.batch import encode as encode_rows
from vectorfleet_node.shard.leadership import entry_of, next_record
from vectorfleet_node.shard.rowhash import LANES, to_hex, total
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.manifest import FileEntry, RequestsEntry
from vectorfleet_node.storage.record import Batch, BatchRequest, Body, Fence, Pin, Publish, Unpin
from vectorfleet_node.storage.store import DataLoss

new_id = ids("state")


def apply(state: ShardState, body: Body, epoch: int | None = None) -> None:
    epoch = state.epoch + isinstance(body, Fence) if epoch is None else epoch
    state.apply(entry_of(next_record(UID, 0, state, epoch, body, new_id(), 0.0)))


def state_with(*bodies: Body) -> ShardState:
    state = ShardState(SCHEMA)
    for body in (Fence("o", "o:1", 1), *bodies):
        apply(state, body)
    return state


def put(*keys: str, seed: int = 0, request: str | None = None) -> BatchRequest:
    return BatchRequest(request or new_id(), encode_rows(upsert(keys, seed).rows))


def drop(*keys: str) -> BatchRequest:
    return BatchRequest(new_id(), None, keys)


def hash_of_rows(state: ShardState) -> str:
    """The sum over the live rows, from the blocks."""
    hashes = [part.hashes[part.block.live] for part in state.snapshot().parts]
    return to_hex(total(np.concatenate([np.empty((0, LANES), np.uint64), *hashes])))


def test_an_upsert_supersedes_the_older_version() -> None:
    state = state_with(Batch((put("a", "b", seed=1),)))
    old = contents(state.snapshot())
    apply(state, Batch((put("a", seed=2),)))
    new = contents(state.snapshot())
    assert set(new) == {"a", "b"}
    assert new["a"] != old["a"]
    assert new["b"] == old["b"]


def test_a_deleted_key_is_gone_and_deleting_an_absent_one_is_nothing() -> None:
    state = state_with(Batch((put("a", "b"),)), Batch((drop("a", "never"),)))
    assert set(contents(state.snapshot())) == {"b"}
    assert state.snapshot().locate(["a", "never", "b"])[:2] == [None, None]


def test_requests_of_one_record_take_effect_in_order() -> None:
    state = state_with(Batch((put("a"), drop("a"), put("a", seed=7), put("b"), drop("b"))))
    assert contents(state.snapshot()) == contents(state_with(Batch((put("a", seed=7),))).snapshot())


def test_a_view_stays_as_it_was_while_records_are_applied() -> None:
    state = state_with(Batch((put("a", "b", "c"),)))
    view = state.snapshot()
    rows, places = contents(view), located(view, ["a", "b", "c", "d"])
    apply(state, Batch((put("a", "d", seed=3), drop("b"))))
    apply(state, Batch((put("b", seed=4), drop("a", "c"))))
    assert contents(view) == rows
    assert located(view, ["a", "b", "c", "d"]) == places
    assert set(located(state.snapshot(), ["a", "b", "c", "d"])) == {"b", "d"}


@pytest.mark.parametrize("seed", range(5))
def test_every_view_finds_every_key_as_of_its_own_position(seed: int) -> None:
    rng = random.Random(seed)
    keys = [f"k{number}" for number in range(12)]
    state, history = state_with(), []
    for step in range(60):
        chosen = rng.sample(keys, rng.randint(1, 5))
        request = drop(*chosen) if rng.random() < 0.3 else put(*chosen, seed=step)
        apply(state, Batch((request,)))
        history.append((state.snapshot(), contents(state.snapshot())))
    for view, rows in history:
        assert contents(view) == rows
        assert set(located(view, keys)) == set(rows)


@pytest.mark.parametrize("seed", range(3))
def test_the_row_hash_is_the_sum_over_the_live_rows(seed: int) -> None:
    rng = random.Random(seed)
    state = state_with()
    for step in range(30):
        chosen = [f"k{number}" for number in rng.sample(range(10), 3)]
        apply(state, Batch((put(*chosen, seed=step), drop(chosen[0]))))
        assert to_hex(state.row_hash) == hash_of_rows(state)
    apply(state, Batch((drop(*(f"k{number}" for number in range(10))),)))
    assert to_hex(state.row_hash) == "0" * 16 * LANES


def test_many_small_writes_fill_several_chunks() -> None:
    state = state_with(*(Batch((put(*(f"{step}-{row}" for row in range(1000)), seed=step),)) for step in range(20)))
    view = state.snapshot()
    assert sum(len(block.live) for block in view.blocks) == 20_000
    assert len(view.blocks) > 1
    assert len(located(view, ["0-0", "19-999", "7-500"])) == 3


def test_a_record_that_does_not_follow_is_refused_and_changes_nothing() -> None:
    state = state_with(Batch((put("a"),)))
    position, rows = state.position, contents(state.snapshot())
    stranger = state_with(Batch((put("b"),)))
    with pytest.raises(DataLoss, match="does not follow"):
        state.apply(entry_of(next_record(UID, 0, stranger, 1, Batch((put("c"),)), new_id(), 0.0)))
    assert (state.position, contents(state.snapshot())) == (position, rows)


def test_a_record_of_another_epoch_is_refused() -> None:
    state = state_with()
    for body, epoch in ((Batch((put("a"),)), 2), (Fence("x", "", 1), 1)):
        with pytest.raises(DataLoss, match="epoch"):
            apply(state, body, epoch)


def test_a_row_that_does_not_fit_the_schema_stops_the_fold() -> None:
    state = state_with()
    with pytest.raises(DataLoss, match="request bad"):
        apply(state, Batch((put("a"), BatchRequest("bad", b"not arrow"))))
    assert contents(state.snapshot()) == {}


def test_published_manifests_below_the_boundary_are_forgotten() -> None:
    state = state_with(Publish(1, 11, 0), Publish(2, 22, 1), Publish(3, 33, 2))
    assert state.published == {2: 22, 3: 33}
    assert (state.newest_published, state.boundary) == (3, 2)


def test_only_a_manifest_that_counts_can_be_pinned() -> None:
    state = state_with(Publish(1, 11, 0), Pin("good", 1, 2), Pin("bad", 9, 9))
    assert state.pins == {"good": (1, 2)}
    apply(state, Unpin("good"))
    assert state.pins == {}


def test_the_request_table_forgets_the_oldest_and_says_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_table, "CAPACITY", 3)
    state = state_with(*(Batch((put("a", request=f"r{number}"),)) for number in range(5)))
    assert [state.requests.position(f"r{number}") for number in range(5)] == [None, None, 4, 5, 6]
    assert state.requests.low == 3


def test_request_files_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    table, files, most = request_table.RequestTable(), (), 0
    written: dict[int, list[tuple[str, int]]] = {}
    monkeypatch.setattr(request_table, "CAPACITY", 200)
    for position in range(1, 500):
        table.add(f"r{position}", position)
        files, new = table.unsaved(files)
        written[position] = new
        file = FileEntry(name="", size=0, crc32c=0)
        files = (*files, RequestsEntry(through=position, count=len(new), file=file))
        most = max(most, len(files))
        kept = [request for entry in files for request in written[entry.through]]
        again = request_table.RequestTable(kept, table.low)
        assert (again.after(0), again.low) == (table.after(0), table.low)
    assert most <= 10
