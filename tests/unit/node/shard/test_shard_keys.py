"""Keys of sealed rows are in no dictionary: the segments' key indexes find them, now and as of any earlier view."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from replicas import SCHEMA, UID, contents, ids, located, upsert
from sealing import frozen, merged, seal, writer_in

from vectorfleet.schema import CollectionSchema, KeyType
from vectorfleet_node.shard.batch import encode as encode_rows
from vectorfleet_node.shard.leadership import entry_of, next_record
from vectorfleet_node.shard.rowhash import to_hex, total
from vectorfleet_node.shard.seal import Merge, Sealed, Sealer
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.shard.view import Key, ShardView
from vectorfleet_node.storage import keyindex
from vectorfleet_node.storage.manifest import Manifest
from vectorfleet_node.storage.record import Batch, BatchRequest, Body, Fence
from vectorfleet_node.storage.store import DataLoss

new_id = ids("keys")


def apply(state: ShardState, body: Body) -> None:
    epoch = state.epoch + isinstance(body, Fence)
    state.apply(entry_of(next_record(UID, 0, state, epoch, body, new_id(), 0.0)))


def new_state(schema: CollectionSchema = SCHEMA) -> ShardState:
    state = ShardState(schema)
    apply(state, Fence("o", "o:1", 2))
    return state


def put(state: ShardState, *keys: Key, seed: int = 0, schema: CollectionSchema = SCHEMA) -> None:
    apply(state, Batch((BatchRequest(new_id(), encode_rows(upsert(keys, seed, schema=schema).rows)),)))


def drop(state: ShardState, *keys: Key) -> None:
    apply(state, Batch((BatchRequest(new_id(), None, keys),)))


def check(view: ShardView, expected: dict[Key, object], asked: list[Key]) -> None:
    assert contents(view) == expected
    assert set(located(view, asked)) == set(expected)


def test_a_sealed_row_is_found_superseded_and_deleted_by_its_key(tmp_path: Path) -> None:
    state = new_state()
    put(state, "a", "b", "c")
    seal(state, writer_in(tmp_path))
    put(state, "a", seed=1)
    drop(state, "b", "never")
    assert set(located(state.snapshot(), ["a", "b", "c", "never"])) == {"a", "c"}
    assert state.rows == len(contents(state.snapshot())) == 2
    seal(state, writer_in(tmp_path / "2"))
    put(state, "b", seed=2)
    assert set(located(state.snapshot(), ["a", "b", "c", "never"])) == {"a", "b", "c"}
    assert state.rows == len(contents(state.snapshot())) == 3


def test_no_memory_is_held_for_the_keys_of_sealed_rows(tmp_path: Path) -> None:
    state = new_state()
    put(state, *(f"k{number}" for number in range(50)))
    put(state, "late")
    seal(state, writer_in(tmp_path))
    put(state, "k7", "new")
    assert set(state._keys) == {"k7", "new"}


def test_integer_keys_are_found_too(tmp_path: Path) -> None:
    schema = SCHEMA.model_copy(update={"key": KeyType.INT64})
    state = new_state(schema)
    put(state, 5, -7, 2**62, schema=schema)
    seal(state, writer_in(tmp_path, schema=schema))
    put(state, -7, schema=schema, seed=1)
    assert set(located(state.snapshot(), [5, -7, 2**62, 8])) == {5, -7, 2**62}
    assert state.rows == 3


def test_keys_whose_hashes_collide_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyindex, "key_digest", lambda key: bytes(7) + bytes([len(key)]))
    state = new_state()
    put(state, *(f"k{number}" for number in range(10)))
    seal(state, writer_in(tmp_path))
    drop(state, "k3", "kx")
    put(state, "k5", seed=9)
    everything = [f"k{number}" for number in range(10)]
    assert set(located(state.snapshot(), everything)) == set(everything) - {"k3"}
    assert state.rows == len(contents(state.snapshot())) == 9


def test_a_key_that_stands_twice_in_one_request_keeps_its_last_row(tmp_path: Path) -> None:
    state = new_state()
    put(state, "a")
    seal(state, writer_in(tmp_path))
    put(state, "b", "a", "a", seed=3)
    assert state.rows == len(contents(state.snapshot())) == 2
    drop(state, "b", "b", "a")
    seal(state, writer_in(tmp_path / "2"))
    put(state, "a", "c")
    drop(state, "a", "a")
    assert state.rows == len(contents(state.snapshot())) == 1
    hashes = [total(part.hashes[part.block.live]) for part in state.snapshot().parts]
    assert to_hex(state.row_hash) == to_hex(np.sum(hashes, axis=0, dtype=np.uint64))


def test_a_swap_to_a_manifest_of_long_ago_neither_resurrects_nor_doubles(tmp_path: Path) -> None:
    state = new_state()
    put(state, "stays", "updated", "deleted", "twice")
    earlier = frozen(state)
    put(state, "updated", "twice", seed=1)
    drop(state, "deleted")
    put(state, "twice", "deleted", seed=2)
    drop(state, "deleted")
    before = contents(state.snapshot())
    sealed = Sealer(writer_in(tmp_path)).seal(earlier, None)
    state.install(sealed.manifest, sealed.segments)
    check(state.snapshot(), before, ["stays", "updated", "deleted", "twice"])
    assert state.rows == 3


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_sealed_and_merged_while_rows_change_every_view_finds_what_was_live(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    keys: list[Key] = [f"k{number}" for number in range(25)]
    state, history = new_state(), []
    writer = writer_in(tmp_path)
    under_way: list[Sealed] = []
    job: Merge | None = None
    for step in range(120):
        choice = rng.random()
        chosen = rng.sample(keys, rng.randint(1, 6))
        if choice < 0.45:
            put(state, *chosen, seed=step)
        elif choice < 0.65:
            drop(state, *chosen)
        elif choice < 0.8 and not under_way:
            under_way.append(Sealer(writer).seal(frozen(state), job))
            job = None
        elif choice < 0.9 and under_way:
            sealed = under_way.pop()
            before = contents(state.snapshot())
            state.install(sealed.manifest, sealed.segments)
            check(state.snapshot(), before, keys)
        elif job is None and not under_way and len(state.layout.segments) > 1:
            start = rng.randrange(len(state.layout.segments) - 1)
            job = merged(state, [start, start + 1], writer)
        history.append((state.snapshot(), contents(state.snapshot())))
        assert state.rows == len(history[-1][1])
    assert state.layout.segments
    for view, rows in history:
        check(view, rows, keys)


def reloaded(manifest: Manifest, state: ShardState) -> ShardState:
    return ShardState.at_manifest(manifest, state.layout.segments, state.requests.after(0), SCHEMA)


def test_a_state_from_a_manifest_goes_on_like_the_one_that_made_it(tmp_path: Path) -> None:
    state = new_state()
    put(state, *(f"k{number}" for number in range(20)))
    seal(state, writer_in(tmp_path))
    put(state, "k1", "x", seed=1)
    drop(state, "k2")
    manifest = seal(state, writer_in(tmp_path / "2")).manifest
    again = reloaded(manifest, state)
    for each in (state, again):
        put(each, "k3", "y", seed=2)
        drop(each, "x", "k4")
    assert contents(again.snapshot()) == contents(state.snapshot())
    assert (again.rows, to_hex(again.row_hash)) == (state.rows, to_hex(state.row_hash))


def test_a_manifest_whose_segments_hold_other_rows_is_refused(tmp_path: Path) -> None:
    state = new_state()
    put(state, "a", "b")
    manifest = seal(state, writer_in(tmp_path)).manifest
    for change in ({"rows": 3}, {"row_hash": "00" * 32}):
        with pytest.raises(DataLoss, match="its segments hold 2 rows"):
            reloaded(manifest.model_copy(update=change), state)
