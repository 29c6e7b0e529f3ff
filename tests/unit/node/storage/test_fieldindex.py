"""The index of a field: what it finds, in memory and from its file, and that no rotten byte of the file decides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vectorfleet_node.storage import checked, fieldfile
from vectorfleet_node.storage.checked import CheckedFile, DamagedFile
from vectorfleet_node.storage.fieldindex import FieldIndex, build
from vectorfleet_node.storage.store import DataLoss

COUNT = 40_000  # values of several blocks, and more than one value of the sample to a block
SOURCE = random.Random(1)
NUMBERS = [None if row % 1000 == 0 else SOURCE.randrange(10**9) for row in range(COUNT)]
WHERE: dict[int, list[int]] = {}
for row, held in enumerate(NUMBERS):
    if held is not None:
        WHERE.setdefault(held, []).append(row)
EVERYWHERE = [row for row, held in enumerate(NUMBERS) if held is not None]
TABLE = pa.table(
    {
        "year": pa.array(NUMBERS, pa.int64()),
        "lang": pa.array([None if value is None else f"text {value}" for value in NUMBERS]),
        "price": pa.array([float("nan") if value is None else value / 8 for value in NUMBERS]),
    }
)


def written(folder: Path, rows: pa.Table = TABLE) -> Path:
    path = folder / "1-a-b.fields"
    fieldfile.write_fields(path, rows, rows.column_names)
    checked.seal(path)
    return path


def opened(path: Path, rows: pa.Table = TABLE) -> dict[str, FieldIndex]:
    return fieldfile.read_fields(CheckedFile.open(path), rows)


def rows_with(index: FieldIndex, operator: str, value: Any) -> list[int]:
    return sorted(index.rows_of([index.span(operator, value)]).tolist())


@pytest.mark.parametrize("from_file", [False, True])
def test_every_value_is_found_where_it_is_and_no_other(from_file: bool, tmp_path: Path) -> None:
    indexes = opened(written(tmp_path)) if from_file else {name: build(TABLE[name]) for name in TABLE.column_names}
    for value in random.Random(2).sample(sorted(WHERE), 300):
        expected = WHERE[value]
        assert rows_with(indexes["year"], "==", value) == expected
        assert rows_with(indexes["lang"], "==", f"text {value}".encode()) == expected
        assert rows_with(indexes["price"], "==", value / 8) == expected
        assert rows_with(indexes["lang"], "==", f"text {value}.".encode()) == []
    half = sorted(value for value in NUMBERS if value is not None)[len(NUMBERS) // 2]
    for operator, test in [("<", int.__lt__), ("<=", int.__le__), (">", int.__gt__), (">=", int.__ge__)]:
        expected = [row for row, held in enumerate(NUMBERS) if held is not None and test(held, half)]
        assert rows_with(indexes["year"], operator, half) == expected
        assert rows_with(indexes["price"], operator, half / 8) == expected, "NaN is nowhere in an order"


def test_a_prefix_finds_the_texts_that_begin_so() -> None:
    texts = ["", "a", "ab", "aé", "a\U0010ffff", "b", "é", "\U0010ffff"]
    index = build(pa.chunked_array([pa.array(texts)]))
    for prefix in ["", "a", "aé", "é", "\U0010ffff", "c"]:
        found = index.rows_of([index.span_of_prefix(prefix.encode())]).tolist()
        assert sorted(found) == [row for row, text in enumerate(texts) if text.startswith(prefix)], prefix


def test_a_row_stands_once_for_each_of_its_values() -> None:
    column = pa.chunked_array([pa.array([["a", "b", "a"], None, [], ["b"]])])
    index = build(column)
    assert [index.rows_of([index.span("==", value)]).tolist() for value in (b"a", b"b", b"c")] == [[0], [0, 3], []]
    assert index.valid is not None
    assert np.unpackbits(index.valid, count=4, bitorder="little").tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float64(), pa.list_(pa.string()), pa.list_(pa.int64())])
@pytest.mark.parametrize("rows", [[], [None], [None] * 9])
def test_rows_without_any_value_have_an_index(kind: pa.DataType, rows: list[None], tmp_path: Path) -> None:
    table = pa.table({"field": pa.array(rows, kind)})
    index = opened(written(tmp_path, table), table)["field"]
    assert (index.entries, index.rows) == (0, len(rows))
    assert rows_with(index, ">=", b"" if pa.types.is_string(kind) else 0) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_rotten_byte_never_decides_and_harms_no_lookup_elsewhere(seed: int, tmp_path: Path) -> None:
    source, path = random.Random(seed), written(tmp_path)
    indexes, damaged, right = opened(path), 0, 0
    data, values = len(CheckedFile.open(path).data), sorted(WHERE)[::97]
    for _ in range(60):
        at, bit = source.randrange(data), 1 << source.randrange(8)
        flip(path, at, bit)
        for _ in range(20):
            value = source.choice(values)
            name, constant = source.choice([("year", value), ("lang", f"text {value}".encode()), ("price", value / 8)])
            operator, expected = "==", WHERE[value]
            if source.random() < 0.2:  # reads every row of the index
                operator, expected, constant = ">=", EVERYWHERE, b"" if name == "lang" else 0
            try:
                found = rows_with(indexes[name], operator, constant)
            except DamagedFile:
                damaged += 1
            else:
                right += 1
                assert found == expected, f"seed {seed}, offset {at}"
        flip(path, at, bit)
    assert damaged > 10
    assert right > damaged


def flip(path: Path, at: int, bits: int) -> None:
    """In place, so that whoever has mapped the file sees it."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bits]))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (TABLE.slice(1), "it names rows beyond"),
        (TABLE.drop_columns("year"), "year"),
        (TABLE.set_column(0, "year", TABLE["lang"]), "its starts do not fit its values and rows"),
    ],
)
def test_indexes_of_other_rows_are_refused(rows: pa.Table, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataLoss, match=words):
        opened(written(tmp_path), rows)


def test_an_index_that_says_something_else_than_the_rows_is_told() -> None:
    other = TABLE.set_column(0, "year", pa.array([1] * COUNT, pa.int64()))
    found = {name: build(TABLE[name]) for name in TABLE.column_names}
    assert fieldfile.wrong_fields(found, TABLE) == []
    assert fieldfile.wrong_fields(found, other) == ["year"]
