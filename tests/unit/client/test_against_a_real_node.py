"""SDK and command line against `vectorfleet serve`: a real node on a folder, no Kubernetes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from vectorfleet import AlreadyExists, AsyncClient, Client, InvalidArgument, Json, NotFound, from_arrays

ROWS = 3000
VECTORS = np.random.default_rng(5).standard_normal((ROWS, 24), dtype=np.float32)
FIELDS = {"lang": ["en", "de", None] * 1000, "year": list(range(ROWS))}


@contextmanager
def serving(data: Path) -> Iterator[str]:
    """`vectorfleet serve` on a free port; its address. Ctrl-C ends it, and it has to end well."""
    program = [sys.executable, "-c", "from vectorfleet.cli import main; main()"]
    process = subprocess.Popen(
        [*program, "serve", "--data", str(data), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"is serving .* on (\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail("".join(lines))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A node with a loaded collection; its address and its folder."""
    data = tmp_path_factory.mktemp("node") / "data"
    with serving(data) as address:
        with Client(address) as client:
            client.create_collection("things", 24, fields={"lang": "String", "year": "Int64"}, shards=2)
            client.load("things", from_arrays(VECTORS, fields=FIELDS), batch_size=500)
        yield address, data


@pytest.fixture
def client(loaded: tuple[str, Path]) -> Iterator[Client]:
    with Client(loaded[0]) as made:
        yield made


def test_an_explained_search_counts_every_row_once(client: Client) -> None:
    told = client.search("things", VECTORS[0], k=3, filter='lang == "en"', explain=True).explanation
    assert [shard.shard for shard in told] == [0, 1]
    assert sum(segment.live for shard in told for segment in shard.segments) == ROWS
    assert sum(segment.allowed for shard in told for segment in shard.segments) == ROWS / 3


def test_what_was_loaded_is_counted_and_found(client: Client) -> None:
    assert client.count("things") == ROWS
    assert client.count("things", filter='lang == "en" and year < 300') == 100
    hits = client.search("things", VECTORS[:50], k=3, output_fields=["*"], include_vectors=True).hits
    assert [found[0].key for found in hits] == [str(row) for row in range(50)]
    assert hits[5][0].fields == {"lang": None, "year": 5}
    np.testing.assert_array_equal(hits[5][0].vectors["default"], VECTORS[5])


def test_a_client_reads_its_own_writes_at_every_level(client: Client) -> None:
    for number, level in enumerate((None, "Session", "Strong")):
        client.upsert("things", [f"mine-{number}"], VECTORS[:1], fields={"lang": [f"x{number}"]})
        assert client.count("things", filter=f'lang == "x{number}"', consistency=level) == 1
    client.delete("things", [f"mine-{number}" for number in range(3)])
    assert client.get("things", ["mine-0", "0"])[0].key == "0"
    assert client.count("things") == ROWS


def test_the_same_request_id_is_applied_once(client: Client) -> None:
    first = client.upsert("things", ["once"], VECTORS[:1], request_id="the-same")
    again = client.upsert("things", ["once"], VECTORS[1:2], request_id="the-same")
    assert again.positions == first.positions
    np.testing.assert_array_equal(
        client.get("things", ["once"], include_vectors=True)[0].vectors["default"], VECTORS[0]
    )
    client.delete("things", ["once"])


def test_rows_are_scanned_grouped_cut_by_score_and_deleted_by_filter(client: Client) -> None:
    keys = [f"extra-{number}" for number in range(40)]
    fields = {"lang": ["fr", "it"] * 20, "year": list(range(-40, 0))}
    client.upsert("things", keys, VECTORS[:40], fields=fields)
    with client.scan("things", filter="year < 0", page_size=7, include_vectors=True) as rows:
        scanned = {row.key: row for row in rows}
    assert sorted(scanned) == sorted(keys)
    np.testing.assert_array_equal(scanned["extra-3"].vectors["default"], VECTORS[3])
    (groups,) = client.search("things", VECTORS[0], k=10, group_by="lang", group_size=2).groups
    assert sorted((str(group.value), len(group.hits)) for group in groups) == [
        ("None", 2), ("de", 2), ("en", 2), ("fr", 2), ("it", 2)
    ]  # fmt: skip
    everything = client.search("things", VECTORS[0], k=1000, exact=True).hits[0]
    bar = everything[20].score
    assert client.search("things", VECTORS[0], k=1000, exact=True, min_score=bar).hits[0] == [
        hit for hit in everything if hit.score >= bar
    ]
    assert client.delete("things", filter="year < 0").rows == 40
    assert client.count("things") == ROWS


def test_errors_name_the_field_and_what_is_allowed(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="24") as refused:
        client.search("things", VECTORS[0][:3])
    assert [violation.field for violation in refused.value.violations] == ["dimensions"]
    with pytest.raises(InvalidArgument, match="year"):
        client.upsert("things", ["a"], VECTORS[:1], fields={"year": ["not a number"]})
    with pytest.raises(InvalidArgument, match="colour"):
        client.count("things", filter='colour == "red"')
    with pytest.raises(NotFound, match="nothing"):
        client.count("nothing")
    with pytest.raises(AlreadyExists):
        client.create_collection("things", 3)


def test_describe_shows_every_shard_ready(client: Client) -> None:
    told = client.describe("things")
    assert told.rows == ROWS
    assert [shard.id for shard in told.shards] == [0, 1]
    assert all(replica.ready and replica.leader for shard in told.shards for replica in shard.replicas)


async def test_the_asynchronous_client_gets_the_same(loaded: tuple[str, Path]) -> None:
    async with AsyncClient(loaded[0]) as client:
        assert await client.count("things") == ROWS
        result = await client.search("things", VECTORS[7], k=1)
        assert result.hits[0][0].key == "7"


def test_a_restarted_node_has_everything(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as address, Client(address) as client:
        client.create_collection("things", 24)
        client.load("things", from_arrays(VECTORS))
        before = client.search("things", VECTORS[:20], k=5).hits
    with serving(tmp_path / "data") as address, Client(address) as client:
        assert client.count("things") == ROWS
        assert client.search("things", VECTORS[:20], k=5).hits == before


def test_arrays_and_documents_are_written_filtered_read_and_there_after_a_restart(tmp_path: Path) -> None:
    types = {"tags": "StringArray", "years": "Int64Array", "weights": "Float64Array", "meta": "Json"}
    fields = {
        "tags": [["a", "b"], [], None],
        "years": [[2020, 2024], None, []],
        "weights": [[0.5], [1, 2.5], None],
        "meta": [{"author": {"name": "Ada"}, "pages": [10]}, Json(["x"]), None],
    }
    expected = [{name: values[row] for name, values in fields.items()} for row in range(3)]
    expected[1]["meta"] = ["x"]
    with serving(tmp_path / "data") as address, Client(address) as client:
        client.create_collection("papers", 4, fields=types, key="Int64")
        client.upsert("papers", [0, 1, 2], np.eye(3, 4, dtype=np.float32), fields=fields)
        assert [row.fields for row in client.get("papers", [0, 1, 2], output_fields=["*"])] == expected
    with serving(tmp_path / "data") as address, Client(address) as client:
        found = client.search("papers", np.eye(1, 4, dtype=np.float32), k=3, output_fields=["*"], consistency="Strong")
        assert {hit.key: hit.fields for hit in found.hits[0]} == dict(enumerate(expected))
        passing = "contains(tags, 'b') and meta.author.name == 'Ada' and length(years) > 1"
        assert client.count("papers", filter=passing) == 1
