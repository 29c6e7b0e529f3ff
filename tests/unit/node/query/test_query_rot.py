"""A query verifies the blocks of what it returns: rotten bytes are never served, and other blocks cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, Metric, VectorSchema
from vectorfleet_node.engine.exact import ExactIndex
from vectorfleet_node.engine.port import SearchOptions
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.model import SearchSpec
from vectorfleet_node.query.rows import count, get_rows
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.shard.checks import SegmentFiles
from vectorfleet_node.shard.port import Rotten
from vectorfleet_node.shard.view import RowBlock
from vectorfleet_node.storage import checked, segment
from vectorfleet_node.storage.checked import BLOCK_BYTES, CheckedFile
from vectorfleet_node.storage.keyindex import KeyIndex
from vectorfleet_node.storage.segment import SegmentRows

ROWS, DIMENSIONS = 20_000, 4
KEYS = [f"k{number}" for number in range(ROWS)]
SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=DIMENSIONS, metric=Metric.L2),),
    fields=(
        FieldSchema(name="text", type=FieldType.STRING),
        FieldSchema(name="year", type=FieldType.INT64),
        FieldSchema(name="score", type=FieldType.FLOAT64),
        FieldSchema(name="flag", type=FieldType.BOOL),
        FieldSchema(name="tags", type=FieldType.STRING_ARRAY),
    ),
    shards=1,
)
FIELDS = tuple(field.name for field in SCHEMA.fields)
COLUMNS = {
    "key": pa.array(KEYS),
    "text": pa.array([None if number % 7 == 0 else f"text of {number}" for number in range(ROWS)]),
    "year": pa.array([None if number % 5 == 0 else number for number in range(ROWS)], pa.int64()),
    "score": pa.array([number / 3 for number in range(ROWS)]),
    "flag": pa.array([number % 2 == 0 for number in range(ROWS)]),
    "tags": pa.array([None if number % 3 == 1 else ["tag", f"of {number}"] for number in range(ROWS)]),
}
VECTORS = np.random.default_rng(5).standard_normal((ROWS, DIMENSIONS), np.float32)


class SealedView:
    """A view of one sealed segment, mapped from files of format 2 in `folder`; `told`: what its readers found."""

    position = 1

    def __init__(self, folder: Path) -> None:
        self.rows, self.vectors = folder / "1-a-b.rows", folder / "1-a-c.vectors"
        self.told: list[tuple[str, str]] = []
        table = pa.table(COLUMNS)
        content = SegmentRows(
            table, np.arange(ROWS, dtype=np.uint64), np.zeros((ROWS, 4), np.uint64), KeyIndex.of(COLUMNS["key"])
        )
        segment.write_rows(self.rows, content, 2)
        segment.write_vectors(self.vectors, [VECTORS])
        checked.seal(self.rows)
        checked.seal(self.vectors)
        rows_file, vectors_file = CheckedFile.open(self.rows), CheckedFile.open(self.vectors)
        opened = segment.read_rows(rows_file).rows
        vectors = {"default": segment.map_vectors(vectors_file, ROWS, DIMENSIONS)}
        files = SegmentFiles(rows_file, opened, {"default": vectors_file}, lambda *found: self.told.append(found))
        indexes = {"default": ExactIndex(vectors["default"], Metric.L2)}
        self.blocks = (RowBlock(opened, vectors, indexes, np.ones(ROWS, np.bool_), True, files),)

    def locate(self, keys: list[str | int]) -> list[tuple[int, int] | None]:
        return [(0, KEYS.index(str(key))) for key in keys]

    def column_spans(self, name: str, row: int) -> list[int]:
        """Offsets in the rows file of one byte of each buffer that says something about the row."""
        (chunk,) = self.blocks[0].rows.column(name).chunks
        base = self.blocks[0].check.rows.address  # type: ignore[union-attr]
        validity, values, *rest = (None if each is None else each.address - base for each in chunk.buffers())
        assert values is not None
        spans = [] if validity is None else [validity + row // 8]
        match name:
            case "text":
                offsets = np.frombuffer(chunk.buffers()[1], np.int32)
                assert rest[0] is not None
                spans += [values + 4 * row, values + 4 * row + 7]
                spans += [rest[0] + int(offsets[row])] if offsets[row + 1] > offsets[row] else []
            case "tags":
                lists, offsets = (np.frombuffer(chunk.buffers()[each], np.int32) for each in (1, 3))
                first, last = int(lists[row]), int(lists[row + 1]) - 1
                inner, text = chunk.buffers()[3].address - base, chunk.buffers()[4].address - base
                spans += [values + 4 * row, values + 4 * row + 7]
                spans += [inner + 4 * first, inner + 4 * last + 7, text + int(offsets[first])] if last >= first else []
            case "flag":
                spans.append(values + row // 8)
            case _:
                spans += [values + 8 * row, values + 8 * row + 7]
        return spans


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> SealedView:
    return SealedView(tmp_path_factory.mktemp("sealed"))


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


@contextmanager
def flipped(path: Path, offset: int) -> Iterator[None]:
    """One bit of the file is wrong meanwhile; whoever has it mapped sees it at once."""
    flip(path, offset)
    try:
        yield
    finally:
        flip(path, offset)


def expected(row: int) -> dict[str, object]:
    return {name: COLUMNS[name][row].as_py() for name in FIELDS}


def get(view: SealedView, row: int, fields: tuple[str, ...] = FIELDS, vectors: bool = True) -> dict[str, object]:
    (answer,) = get_rows(view, SCHEMA, [KEYS[row]], fields, vectors).fields.to_pylist() or [{}]
    return answer


def search(view: SealedView, row: int, fields: tuple[str, ...] = ()) -> list[str]:
    spec = SearchSpec(SCHEMA, "default", VECTORS[row : row + 1], 1, None, SearchOptions(), fields, False)
    return search_shard(view, spec).hits[0].keys


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("row", [0, 35, 9_999, ROWS - 1])
def test_a_flipped_bit_in_a_field_that_is_returned_is_told_with_its_file(view: SealedView, name: str, row: int) -> None:
    for offset in view.column_spans(name, row):
        view.told.clear()
        with flipped(view.rows, offset):
            with pytest.raises(Rotten, match=r"1-a-b\.rows is damaged at offset \d+"):
                get(view, row, (name,), vectors=False)
            assert [file for file, _ in view.told] == ["1-a-b.rows"]
        assert get(view, row, (name,), vectors=False) == {name: expected(row)[name]}


@pytest.mark.parametrize("row", [0, 12_345, ROWS - 1])
def test_a_flipped_bit_in_a_vector_is_told_when_it_is_returned_or_scored(view: SealedView, row: int) -> None:
    with flipped(view.vectors, 4 * DIMENSIONS * row + 1):
        with pytest.raises(Rotten, match=r"1-a-c\.vectors is damaged"):
            get(view, row)
        with pytest.raises(Rotten, match=r"1-a-c\.vectors is damaged"):
            search(view, row)
        assert get(view, row, vectors=False) == expected(row)
    assert search(view, row) == [KEYS[row]]


def test_damage_in_other_blocks_does_not_matter_to_a_row(view: SealedView) -> None:
    row = ROWS // 2
    last = ROWS - 1
    offsets = [offset for name in FIELDS for offset in view.column_spans(name, last)]
    near = {offset // BLOCK_BYTES for name in FIELDS for offset in view.column_spans(name, row)}
    for offset in offsets:
        if offset // BLOCK_BYTES not in near:
            with flipped(view.rows, offset):
                assert get(view, row) == expected(row)
    with flipped(view.vectors, 0):
        assert get(view, row) == expected(row)


def test_fields_that_are_not_asked_for_are_not_verified(view: SealedView) -> None:
    for offset in view.column_spans("year", 77):
        with flipped(view.rows, offset):
            assert get(view, 77, ("text",), vectors=False) == {"text": expected(77)["text"]}


def test_a_key_is_in_memory_and_does_not_rot(view: SealedView) -> None:
    data = view.rows.read_bytes()
    with flipped(view.rows, data.index(b"k100k101k102")):
        assert search(view, 101) == ["k101"]


def test_any_offset_of_an_array_is_verified_where_it_is(view: SealedView) -> None:
    check = view.blocks[0].check
    assert isinstance(check, SegmentFiles)
    start = ROWS - 500
    sliced = replace(check, table=check.table.slice(start))
    for name in FIELDS:
        for offset in view.column_spans(name, start + 3):
            with flipped(view.rows, offset), pytest.raises(Rotten):
                sliced.verify(np.array([3]), (name,), ())


FILTERS = {
    "text": "text like 'text%'",
    "year": "year > 5",
    "score": "score < 100.0",
    "flag": "not flag",
    "tags": "contains(tags, 'tag')",
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("row", [0, 9_999, ROWS - 1])
def test_a_filter_does_not_decide_by_a_damaged_column(view: SealedView, name: str, row: int) -> None:
    filter_ = compile_filter(FILTERS[name], SCHEMA)
    for offset in view.column_spans(name, row):
        with flipped(view.rows, offset), pytest.raises(Rotten, match=r"1-a-b\.rows is damaged"):
            count(view, filter_)


def test_a_filter_does_not_mind_damage_in_columns_that_it_does_not_read(view: SealedView) -> None:
    filter_ = compile_filter("flag or year > 5", SCHEMA)
    passing = count(view, filter_)
    with flipped(view.rows, view.column_spans("score", ROWS // 2)[0]):
        assert count(view, filter_) == passing


def test_growing_rows_have_nothing_to_verify() -> None:
    table = pa.table(COLUMNS)
    RowBlock(table, {"default": VECTORS}, {}, np.ones(ROWS, np.bool_), False).verify(np.array([1]), FIELDS, ["default"])
