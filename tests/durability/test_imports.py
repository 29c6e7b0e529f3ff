"""An import from a bucket into `vectorfleet serve`, which is killed in the middle of it, again and again.

The same import, from a new client each time, goes on until it is done: every row is there once, as the file has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.durability.gateway import Gateway
from tests.durability.test_server import Server
from vectorfleet import Client, ImportFailed, SourceError, open_source

ROWS = 6_000
DIMENSIONS = 8
PART_ROWS = 300
SHARDS = 2
KILLS = 4
PARTS_BETWEEN_KILLS = 3
BUCKET = "files"
VECTORS = np.random.default_rng(4).standard_normal((ROWS, DIMENSIONS), dtype=np.float32)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data")
    try:
        yield started
    finally:
        started.kill()


@pytest.fixture
def url(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Parquet object, and the settings that lead to it."""
    table = pa.table({"id": range(ROWS), "vector": list(VECTORS), "number": range(ROWS)})
    pq.write_table(table, gateway.make_bucket(BUCKET) / "rows.parquet", row_group_size=1000)
    for name, value in {**gateway.credentials, "AWS_ENDPOINT_URL": gateway.endpoint, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/rows.parquet"


class Killed(Exception):
    """Raised by the progress of an import that has gone far enough."""


def import_until_killed(server: Server, url: str, parts: int) -> None:
    """Begins, or goes on with, the import; kills the server when so many parts more than before are stored."""
    stored: list[int] = []

    def progress(rows: int, _: int | None) -> None:
        stored.append(rows)
        if len(stored) > parts:
            server.kill()
            raise Killed

    with Client(server.address) as client, pytest.raises(Killed):
        client.import_rows("words", open_source(url), part_rows=PART_ROWS, progress=progress)


def test_an_import_whose_server_is_killed_goes_on_and_doubles_nothing(
    server: Server, url: str, record_property: object
) -> None:
    with Client(server.address) as client:
        client.create_collection("words", DIMENSIONS, fields={"number": "Int64"}, shards=SHARDS, key="Int64")
    for _ in range(KILLS):
        import_until_killed(server, url, PARTS_BETWEEN_KILLS)
        server.start()
    with Client(server.address) as client:
        done = client.import_rows("words", open_source(url), part_rows=PART_ROWS)
        assert done.rows == ROWS
        assert KILLS * PARTS_BETWEEN_KILLS * PART_ROWS / SHARDS / 2 < done.repeated < ROWS
        assert client.import_rows("words", open_source(url), part_rows=PART_ROWS).repeated == ROWS
        assert client.count("words") == client.describe("words").rows == ROWS
        for row in client.scan("words", include_vectors=True):
            assert row.fields["number"] == row.key
            np.testing.assert_array_equal(row.vectors["default"], VECTORS[int(row.key)])
    record_property("durability kills", KILLS)  # type: ignore[operator]
    record_property("durability rows imported before the last kill", done.repeated)  # type: ignore[operator]


def test_a_server_that_dies_during_a_part_is_waited_for(server: Server, url: str) -> None:
    stored: list[int] = []

    def progress(rows: int, _: int | None) -> None:
        stored.append(rows)
        if len(stored) in (2, 9):
            server.kill()
            server.start()

    with Client(server.address) as client:
        client.create_collection("words", DIMENSIONS, fields={"number": "Int64"}, shards=SHARDS, key="Int64")
        done = client.import_rows("words", open_source(url), part_rows=PART_ROWS, progress=progress)
        assert done.rows == client.count("words") == ROWS


def test_a_bucket_that_cannot_be_read_is_told_in_words(
    url: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match=r"s3://files/none\.parquet: no such object"):
        open_source(f"s3://{BUCKET}/none.parquet")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceError, match="credentials"):
        open_source(url)


def test_a_wrong_row_in_a_bucket_is_named_and_nothing_of_its_part_is_seen(
    server: Server, gateway: Gateway, url: str
) -> None:
    vectors = VECTORS.copy()
    vectors[1234] = 0
    wrong = pa.table({"id": range(ROWS), "vector": list(vectors)})
    pq.write_table(wrong, gateway.make_bucket("others") / "wrong.parquet")
    with Client(server.address) as client:
        client.create_collection("words", DIMENSIONS, shards=1, key="Int64")
        with pytest.raises(ImportFailed, match=r"row 1234 of the source: vectors\[default\]: \(key 1234\) is zero"):
            client.import_rows("words", open_source("s3://others/wrong.parquet"), part_rows=PART_ROWS, parallel=1)
        assert client.count("words") == 1200
        assert client.get("words", [1199, 1200, 1233, 1235]) == client.get("words", [1199])
