"""Objects of a bucket as sources of rows. The bucket here is a folder; real S3 is read by the durability tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from vectorfleet import SourceError, open_source

VECTORS = np.random.default_rng(1).standard_normal((50, 4), dtype=np.float32)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a bucket `b`, with rows as Parquet and as lines; how the client was made is in `asked`."""
    folder = tmp_path / "b"
    folder.mkdir()
    pq.write_table(pa.table({"id": range(50), "vector": list(VECTORS)}), folder / "rows.parquet", row_group_size=20)
    (folder / "rows.jsonl").write_text('{"vector": [1, 2]}\n\n{"vector": [3, 4], "lang": "en"}\n')

    def connect(**options: Any) -> Any:
        assert options["endpoint_override"] == "s3.test:9000"
        assert (options["scheme"], options["region"]) == ("http", "eu-west-7")
        return fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    monkeypatch.setattr(fs, "S3FileSystem", connect)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.test:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-7")
    return folder


def test_parquet_is_read_from_any_row_on(bucket: Path) -> None:
    source = open_source("s3://b/rows.parquet")
    assert source.rows == 50
    for skip in (0, 30):
        batches = list(source.batches(7, skip))
        np.testing.assert_array_equal(np.concatenate([batch.vectors["default"] for batch in batches]), VECTORS[skip:])
        assert [key for batch in batches for key in batch.keys] == list(range(skip, 50))


def test_lines_are_read(bucket: Path) -> None:
    (batch,) = open_source("s3://b/rows.jsonl").batches(10)
    assert batch.fields == {"lang": [None, "en"]}
    assert batch.vectors["default"].tolist() == [[1, 2], [3, 4]]


def test_an_object_that_is_written_anew_is_another_one(bucket: Path) -> None:
    first, same = (open_source("s3://b/rows.jsonl").identity for _ in range(2))
    (bucket / "rows.jsonl").write_text('{"vector": [1, 2]}\n')
    assert first == same != open_source("s3://b/rows.jsonl").identity


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://b/none.parquet", "s3://b/none.parquet: no such object"),
        ("s3://b", "expected s3://bucket/path"),
        ("s3://b/rows.npy", r"a .npy is only read from a local file"),
        ("https://b/rows.parquet", "not a URL that can be read; expected a path or s3://"),
        ("s3://b/rows", "cannot tell its format"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_expected(bucket: Path, url: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(url)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject", "access was denied, or no credentials were found.*AWS_ACCESS"),
        ("AWS Error NETWORK_CONNECTION during HeadObject", "cannot be reached.*AWS_ENDPOINT_URL"),
        ("something else", r"it cannot be read \(something else\)"),
    ],
)
def test_what_s3_refuses_is_told_in_words(monkeypatch: pytest.MonkeyPatch, told: str, message: str) -> None:
    class Refusing:
        def __init__(self, **options: Any) -> None: ...

        def get_file_info(self, path: str) -> Any:
            raise OSError(told)

    monkeypatch.setattr(fs, "S3FileSystem", Refusing)
    with pytest.raises(SourceError, match=f"s3://b/rows.parquet: .*{message}"):
        open_source("s3://b/rows.parquet")


def test_a_connection_that_breaks_names_the_row_that_was_reached(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source: Any = open_source("s3://b/rows.parquet")

    def breaking(*_: Any, **__: Any) -> Any:
        raise OSError("curlCode: 56, connection reset")

    monkeypatch.setattr(source._file, "iter_batches", breaking, raising=False)
    with pytest.raises(SourceError, match=r"s3://b/rows.parquet: after row 0: .*connection reset"):
        list(source.batches(10))
