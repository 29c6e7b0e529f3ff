"""Files as rows: what is read, in batches, from any row on; and what is refused, by file and row."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vectorfleet import Source, SourceError, from_arrays, open_source
from vectorfleet.readers import SourceSchema

ROWS = 25
VECTORS = np.random.default_rng(1).standard_normal((ROWS, 4), dtype=np.float32)
KEYS = [f"k{row}" for row in range(ROWS)]
LANGS = [None if row % 5 == 0 else "en" for row in range(ROWS)]


def write_fvecs(path: Path, vectors: NDArray[np.float32]) -> None:
    lengths = np.full((len(vectors), 1), vectors.shape[1], "<i4")
    path.write_bytes(np.hstack([lengths, vectors.astype("<f4").view("<i4")]).tobytes())


def write_fbin(path: Path, vectors: NDArray[np.float32]) -> None:
    path.write_bytes(np.array(vectors.shape, "<u4").tobytes() + vectors.astype("<f4").tobytes())


def write_parquet(path: Path, vectors: NDArray[np.float32]) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    pq.write_table(pa.table({"id": KEYS, "embedding": column, "lang": LANGS}), path, row_group_size=10)


def write_lines(path: Path, vectors: NDArray[np.float32]) -> None:
    lines = [
        json.dumps({"key": key, "vector": vector.tolist(), **({"lang": lang} if lang else {})})
        for key, vector, lang in zip(KEYS, vectors, LANGS, strict=True)
    ]
    path.write_text("\n\n".join(lines) + "\n")


@pytest.fixture(params=["npy", "npz", "fvecs", "fbin", "parquet", "jsonl"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"rows.{request.param}"
    match request.param:
        case "npy":
            np.save(path, VECTORS)
        case "npz":
            np.savez(path, vectors=VECTORS, keys=np.array(KEYS), year=np.arange(ROWS))
        case "fvecs":
            write_fvecs(path, VECTORS)
        case "fbin":
            write_fbin(path, VECTORS)
        case "parquet":
            write_parquet(path, VECTORS)
        case "jsonl":
            write_lines(path, VECTORS)
    return path


def read(source: Source, size: int, skip: int = 0) -> tuple[list[Any], NDArray[np.float32], dict[str, list[Any]]]:
    batches = list(source.batches(size, skip))
    fields: dict[str, list[Any]] = {}
    for batch in batches:
        for name, values in batch.fields.items():
            fields.setdefault(name, []).extend(values)
    keys = [key for batch in batches for key in np.asarray(batch.keys).tolist()]
    return keys, np.concatenate([batch.vectors["default"] for batch in batches]), fields


@pytest.mark.parametrize(("size", "skip"), [(1, 0), (7, 0), (100, 0), (7, 3), (10, 10), (4, 24)])
def test_every_format_gives_the_same_vectors_whatever_the_batches(file: Path, size: int, skip: int) -> None:
    source = open_source(file)
    keys, vectors, fields = read(source, size, skip)
    np.testing.assert_array_equal(vectors, VECTORS[skip:])
    named = file.suffix in (".npz", ".parquet", ".jsonl")
    assert keys == (KEYS[skip:] if named else list(range(skip, ROWS)))
    if file.suffix in (".parquet", ".jsonl") and size > 1:
        assert fields == {"lang": LANGS[skip:]}
    assert source.rows in (ROWS, None)
    assert next(source.batches(5, ROWS), None) is None, "nothing is left after the last row"


def test_every_format_tells_a_schema(file: Path) -> None:
    schema = open_source(file).schema()
    fields = {".npz": {"year": "Int64"}, ".parquet": {"lang": "String"}, ".jsonl": {"lang": "String"}}
    key = "String" if file.suffix in fields else "Int64"
    assert schema == SourceSchema({"default": 4}, key, fields.get(file.suffix, {}))  # type: ignore[arg-type]


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    lists = pa.array([row.tolist() for row in VECTORS], pa.list_(pa.float64()))
    pq.write_table(pa.table({"n": list(range(ROWS)), "a": lists, "b": lists, "lang": LANGS, "x": KEYS}), path)
    with pytest.raises(SourceError, match=r"which column holds the vectors.*a: list"):
        open_source(path)
    source = open_source(path, key="n", vector="b", fields=["x"])
    keys, _, fields = read(source, 10)
    assert keys == list(range(ROWS))
    assert fields == {"x": KEYS}
    assert source.schema().key == "Int64"
    with pytest.raises(SourceError, match="has no key column 'm'; its columns are n, a, b, lang, x"):
        open_source(path, key="m", vector="a")
    with pytest.raises(SourceError, match="has no column 'y'"):
        open_source(path, vector="a", fields=["y"])


def test_a_parquet_column_that_is_no_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    lists = pa.array([[1.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"vector": lists, "at": pa.array([0], pa.timestamp("s"))}), path)
    with pytest.raises(SourceError, match=r"column at is timestamp\[ms\].*Choose"):
        open_source(path)
    assert next(open_source(path, fields=[]).batches(1)).fields == {}


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0], None], "row 1: the vector is null"),
        ([[1.0], [1.0, 2.0]], "row 1: the vector has 2 dimensions; expected 1"),
        ([[1.0], [float("nan")]], "row 1: the vector holds NaN"),
        ([[], []], "vectors have shape"),
    ],
)
def test_a_parquet_row_that_is_wrong_is_named(tmp_path: Path, vectors: list[Any], message: str) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"vector": pa.array(vectors, pa.list_(pa.float32()))}), path)
    with pytest.raises(SourceError, match=message):
        list(open_source(path).batches(10))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", "row 1: not JSON"),
        ("[1]", "row 1: is a list; expected an object"),
        ('{"key": "b"}', "row 1: has no 'vector'; it has key"),
        ('{"vector": [1, 2]}', "row 1: has no 'key'"),
        ('{"key": "b", "vector": [1]}', "row 1: the vector has 1 dimensions; expected 2"),
        ('{"key": "b", "vector": ["x", 1]}', "row 1: 'vector' is no list of numbers"),
        ('{"key": "b", "vector": [1, NaN]}', "row 1: the vector holds NaN"),
        ("\udcff", "row 1: not JSON"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, second: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(f'{{"key": "a", "vector": [1, 2]}}\n{second}\n'.encode(errors="surrogateescape"))
    with pytest.raises(SourceError, match=message):
        list(open_source(path).batches(10))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "cannot tell its format"),
        ("a.npy", b"nonsense", "not a .npy file"),
        ("a.npz", b"nonsense", "not a .npz file"),
        ("a.parquet", b"nonsense", "not a Parquet file"),
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b'{"x": 1}', "which column holds the vector"),
        ("a.fvecs", b"", "its header alone has 4"),
        ("a.fvecs", b"\x02\x00\x00\x00\x00", "expected a multiple of 12"),
        ("a.fvecs", b"\xff\xff\xff\xff", "says 4294967295 dimensions; expected 1 to 32768"),
        ("a.fbin", b"\x01\x00\x00\x00\x02\x00\x00\x00", "has 8 bytes; 1 rows of 2 dimensions need 16"),
        ("a.fbin", b"\x00\x00\x00\x00\x02\x00\x00\x00", "has no rows"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_an_fvecs_row_of_another_length_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.fvecs"
    write_fvecs(path, VECTORS)
    content = bytearray(path.read_bytes())
    content[3 * 20 : 3 * 20 + 4] = (9).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(SourceError, match="row 3: says 9 dimensions; expected 4"):
        list(open_source(path).batches(2))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "a.npy")


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([object()]), allow_pickle=True)
    with pytest.raises(SourceError, match=r"not a \.npy file of numbers"):
        open_source(path)


def test_arrays_are_rows_with_names(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="keys has 1 rows, the vectors have 25"):
        from_arrays(VECTORS, keys=["a"])
    with pytest.raises(SourceError, match="shape"):
        from_arrays(VECTORS[0])
    source = from_arrays({"title": VECTORS, "body": VECTORS[:, :2]}, KEYS, {"lang": LANGS})
    assert source.schema().dimensions == {"title": 4, "body": 2}


@given(st.binary(max_size=200), st.sampled_from(["fvecs", "fbin", "npy"]), st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzzed.{kind}"
    path.write_bytes(content)
    with contextlib.suppress(SourceError):
        for batch in open_source(path).batches(size):
            assert batch.vectors["default"].shape[0] == len(batch.keys) <= size
            assert np.isfinite(batch.vectors["default"]).all()


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 300), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_of_an_fvecs_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: int, dimensions: int, place: int, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.fvecs"
    write_fvecs(path, np.ones((rows, dimensions), np.float32))
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with contextlib.suppress(SourceError):
        read_rows = sum(len(batch.keys) for batch in open_source(path).batches(7))
        assert read_rows * (open_source(path).schema().dimensions["default"] + 1) * 4 == len(content)


TAGS: list[list[str] | None] = [["a", "b"], [], None]
METAS = [{"author": "Ada", "pages": [1, 2]}, {"author": None, "pages": []}, None]


def test_arrays_and_objects_of_parquet_and_lines_are_fields(tmp_path: Path) -> None:
    rows = [
        {
            "key": row,
            "vector": [1.0, 2.0],
            "tags": tags,
            "years": tags and [2020],
            "weights": tags and [0.5],
            "meta": meta,
        }
        for row, (tags, meta) in enumerate(zip(TAGS, METAS, strict=True))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for name in ("rows.jsonl", "rows.parquet"):
        source = open_source(tmp_path / name)
        kinds = {"tags": "StringArray", "years": "Int64Array", "weights": "Float64Array", "meta": "Json"}
        assert source.schema().fields == kinds
        assert next(source.batches(10)).fields["tags"] == TAGS
        assert next(source.batches(10)).fields["meta"] == METAS


def test_a_column_of_lists_of_objects_is_json_and_one_of_mixed_lists_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"vector": [1], "parts": [{"a": 1}]}\n')
    assert open_source(file).schema().fields == {"parts": "Json"}
    file.write_text('{"vector": [1], "parts": [1, "a"]}\n')
    with pytest.raises(SourceError, match="column parts holds int, str"):
        open_source(file).schema()
