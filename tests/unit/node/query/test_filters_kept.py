"""What filters keep: answers are the same with and without, memory is bounded, and damage is told when it matters."""

from __future__ import annotations

import gc
import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
from views import View, block, schema, table

from vectorfleet.schema import FieldSchema, FieldType
from vectorfleet_node.query.filters import compile_filter, documents
from vectorfleet_node.query.filters.documents import PARSED
from vectorfleet_node.query.filters.kept import Kept
from vectorfleet_node.query.filters.masks import MASKS, keep_at_most, mask_of
from vectorfleet_node.query.rows import count
from vectorfleet_node.shard.blocks import GrowingRows
from vectorfleet_node.shard.parts import Upsert
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.shard.view import RowBlock, RowsIdentity

SCHEMA = schema()
DOCUMENTS = SCHEMA.model_copy(update={"fields": (FieldSchema(name="meta", type=FieldType.JSON),)})
ROWS = 1001
YEARS = [None if row % 7 == 0 else row for row in range(ROWS)]


class Disk:
    """Counts the checks of columns; rotten: whether they fail."""

    def __init__(self) -> None:
        self.checks = 0
        self.rotten = False

    def verify(self, *_: object) -> None:
        raise AssertionError("no row is read")

    def verify_columns(self, *_: object) -> None:
        self.checks += 1
        if self.rotten:
            raise Rotten("1-a-b.rows is damaged")

    def telling(self) -> AbstractContextManager[None]:
        return nullcontext()


def sealed(check: Disk | None = None, identity: RowsIdentity | None = None) -> RowBlock:
    made = block(SCHEMA, [f"k{row}" for row in range(ROWS)], np.ones((ROWS, 8)), year=YEARS)
    return replace(made, check=check, identity=identity or RowsIdentity())


def kept() -> Kept[np.ndarray]:
    return Kept(1 << 20)


def test_a_kept_mask_is_the_same_and_is_not_worked_out_again() -> None:
    masks, disk, filter_ = kept(), Disk(), compile_filter("year > 500", SCHEMA)
    rows = sealed(disk)
    first, second = mask_of(rows, filter_, masks), mask_of(rows, filter_, masks)
    assert first.tolist() == second.tolist() == [year is not None and year > 500 for year in YEARS]
    assert (masks.hits, masks.misses, disk.checks) == (1, 1, 1)


def test_who_lives_is_not_kept() -> None:
    rows, filter_ = sealed(), compile_filter("year > 500", SCHEMA)
    before = count(View((rows,)), filter_)
    live = rows.live.copy()
    live[999] = False
    assert count(View((replace(rows, live=live),)), filter_) == before - 1
    assert count(View((rows,)), filter_) == before


def test_another_filter_and_other_rows_have_masks_of_their_own() -> None:
    masks, rows = kept(), sealed()
    more, fewer = compile_filter("year > 500", SCHEMA), compile_filter("year > 900", SCHEMA)
    assert mask_of(rows, more, masks).sum() != mask_of(rows, fewer, masks).sum()
    other = block(SCHEMA, ["a"], np.ones((1, 8)), year=[3])
    assert mask_of(replace(other, identity=RowsIdentity()), more, masks).tolist() == [False]


def test_rows_that_may_change_keep_nothing() -> None:
    masks, filter_ = kept(), compile_filter("year > 500", SCHEMA)
    rows = replace(sealed(), identity=None)
    assert mask_of(rows, filter_, masks).tolist() == mask_of(rows, filter_, masks).tolist()
    assert (masks.bytes, masks.hits, masks.misses) == (0, 0, 0)


def write(into: GrowingRows, first: int, count: int) -> None:
    keys: list[str | int] = [f"k{row}" for row in range(first, first + count)]
    rows = table(SCHEMA, keys, year=list(range(first, first + count))).to_batches()[0]
    sequences, vectors = list(range(first, first + count)), {"default": np.ones((count, 8), np.float32)}
    into.append(Upsert("", keys, sequences, rows, vectors, np.zeros((count, 4), np.uint64)), 0)


def test_growing_rows_are_others_after_each_write() -> None:
    masks, filter_, growing = kept(), compile_filter("year >= 3", SCHEMA), GrowingRows(SCHEMA)
    write(growing, 0, 5)
    assert mask_of(growing.part().block, filter_, masks).tolist() == [False] * 3 + [True] * 2
    growing.kill(np.array([4], np.uint64))
    assert mask_of(growing.part().block, filter_, masks).tolist() == [False] * 3 + [True] * 2
    assert masks.hits == 1, "a row that is superseded changes no mask"
    write(growing, 5, 2)
    assert mask_of(growing.part().block, filter_, masks).tolist() == [False] * 3 + [True] * 4


def test_damaged_columns_decide_nothing_and_are_told_until_a_mask_was_made_of_whole_ones() -> None:
    masks, disk, filter_ = kept(), Disk(), compile_filter("year > 500", SCHEMA)
    rows, disk.rotten = sealed(disk), True
    for _ in range(2):
        with pytest.raises(Rotten):
            mask_of(rows, filter_, masks)
    disk.rotten = False
    whole = mask_of(rows, filter_, masks)
    disk.rotten = True
    assert mask_of(rows, filter_, masks).tolist() == whole.tolist()
    with pytest.raises(Rotten):
        mask_of(rows, compile_filter("year > 501", SCHEMA), masks)


def test_what_is_kept_is_bounded_and_what_was_used_last_stays() -> None:
    cache: Kept[str] = Kept(3 * 1256)
    rows = RowsIdentity()
    for name in "abc":
        cache.put(rows, name, name, 1000)
    assert cache.get(rows, "a") == "a"
    cache.put(rows, "d", "d", 1000)
    assert [cache.get(rows, name) for name in "abcd"] == ["a", None, "c", "d"]
    cache.put(rows, "huge", "huge", 4000)
    assert cache.get(rows, "huge") is None
    cache.put(rows, "a", "A", 2000)
    assert cache.get(rows, "a") == "A"
    assert cache.bytes <= cache.limit


@pytest.mark.parametrize("seed", range(5))
def test_a_bound_holds_and_no_value_is_another_ones_whatever_is_put(seed: int) -> None:
    rng, cache = random.Random(seed), Kept[tuple[int, int]](20_000)
    alive = {number: RowsIdentity() for number in range(8)}
    for step in range(3000):
        number, name = rng.randrange(8), rng.randrange(6)
        if rng.random() < 0.02:
            alive[number] = RowsIdentity()
            number_of = {name: cache.get(alive[number], name) for name in range(6)}
            assert not any(number_of.values()), f"seed {seed}, step {step}"
        found = cache.get(alive[number], name)
        assert found in (None, (number, name)), f"seed {seed}, step {step}"
        cache.put(alive[number], name, (number, name), rng.randrange(3000))
        assert 0 <= cache.bytes <= cache.limit, f"seed {seed}, step {step}"


def test_what_is_kept_shrinks_at_once_and_follows_the_memory_of_the_process() -> None:
    cache: Kept[str] = Kept(3 * 1256)
    rows = RowsIdentity()
    for name in "abc":
        cache.put(rows, name, name, 1000)
    cache.resize(1300)
    assert [cache.get(rows, name) for name in "abc"] == [None, None, "c"]
    try:
        for size, memory, each in [(None, None, 64 << 20), (None, 4 << 30, 128 << 20), (None, 1 << 40, 512 << 20)]:
            keep_at_most(size, memory)
            assert (MASKS.limit, PARSED.limit) == (each, each)
        keep_at_most(10 << 20, 1 << 40)
        assert (MASKS.limit, PARSED.limit) == (5 << 20, 5 << 20)
    finally:
        keep_at_most(None, None)


def documents_from(growing: GrowingRows, first: int, count: int) -> None:
    keys: list[str | int] = [f"k{row}" for row in range(first, first + count)]
    texts = [f'{{"a": {row}}}' if row % 3 else None for row in range(first, first + count)]
    rows = table(DOCUMENTS, keys, meta=texts).to_batches()[0]
    sequences, vectors = (
        [row << 24 for row in range(first, first + count)],
        {"default": np.ones((count, 8), np.float32)},
    )
    growing.append(Upsert("", keys, sequences, rows, vectors, np.zeros((count, 4), np.uint64)), 0)


def test_a_write_parses_the_documents_of_its_own_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    from_json = documents.from_json
    monkeypatch.setattr(documents, "from_json", lambda text: parsed.append(text) or from_json(text))
    growing, old = GrowingRows(DOCUMENTS), None
    for step in range(6):
        documents_from(growing, 10 * step, 10)
        if step == 3:
            growing.drop_through(14)  # a segment has these rows
        block, parsed[:] = growing.part().block, []
        first = 15 if step >= 3 else 0
        for constant in (17, step):
            expected = [row % 3 != 0 and row >= constant for row in range(first, 10 * step + 10)]
            assert mask_of(block, compile_filter(f"meta.a >= {constant}", DOCUMENTS), kept()).tolist() == expected
        assert len(parsed) == sum(row % 3 != 0 for row in range(10 * step, 10 * step + 10)), step
        if old is not None:  # somebody still reads the rows as they were
            mask = mask_of(old, compile_filter(f"meta.a >= {step}", DOCUMENTS), kept())
            assert mask.tolist() == [row % 3 != 0 and row >= step for row in range(len(old.live))]
        old = old or block
    parsed.clear()
    growing.drop_through(30)
    mask = mask_of(growing.part().block, compile_filter("meta.a >= 33", DOCUMENTS), kept())
    assert mask.tolist() == [row % 3 != 0 and row >= 33 for row in range(31, 60)]
    assert parsed == []


def test_what_is_known_of_rows_goes_with_them() -> None:
    cache, rows, others = Kept[int](10_000), RowsIdentity(), RowsIdentity()
    cache.put(rows, "a", 1, 500)
    cache.put(others, "a", 2, 500)
    del rows
    gc.collect()
    assert cache.get(others, "a") == 2
    assert cache.bytes == 756


def test_compiled_filters_and_kept_masks_are_bounded() -> None:
    limit = compile_filter.cache_info().maxsize
    assert limit is not None
    for number in range(limit + 10):
        compile_filter(f"year == {number}", SCHEMA)
    assert compile_filter.cache_info().currsize <= limit
    assert MASKS.limit == 64 << 20
