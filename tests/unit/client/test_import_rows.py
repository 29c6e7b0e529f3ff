"""Imports: parts that have names, so that whoever imports the same again leaves out what is stored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vectorfleet import (
    AsyncClient,
    Batch,
    Client,
    ImportFailed,
    InvalidArgument,
    ResourceExhausted,
    SourceError,
    VectorFleetError,
    from_arrays,
    open_source,
)
from vectorfleet.importing import plan
from vectorfleet.readers import SourceSchema
from vectorfleet.testing import FakeFleet
from vectorfleet.v1 import vectorfleet_pb2 as pb

ROWS = 500
VECTORS = np.random.default_rng(2).standard_normal((ROWS, 3), dtype=np.float32)


def parts_of(fleet: FakeFleet) -> list[str]:
    """The ids under which rows were sent, in order."""
    return [each.request_id for each in fleet.requests if isinstance(each, pb.ImportHeader) and each.rows]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A Parquet file of all rows, in row groups that no part ends with."""
    columns = {"key": [f"k{row}" for row in range(ROWS)], "vector": list(VECTORS), "lang": ["en", None] * (ROWS // 2)}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=70)
    return path


def test_all_rows_arrive_in_parts_and_are_seen_at_once(client: Client, fleet: FakeFleet) -> None:
    seen: list[tuple[int, int | None]] = []
    source = from_arrays(VECTORS, fields={"price": [1] * ROWS, "lang": ["en"] * ROWS})
    result = client.import_rows(
        "things", source, part_rows=64, progress=lambda done, rows: seen.append((done, rows)), parallel=3
    )
    assert (result.rows, result.repeated) == (ROWS, 0)
    assert sorted(each.rows for each in fleet.requests if isinstance(each, pb.ImportHeader)) == [0, 52, *[64] * 7]
    assert seen == sorted(seen)
    assert seen[-1] == (ROWS, ROWS)
    found = client.search("things", VECTORS, k=1, output_fields=["price"]).hits
    assert [hits[0].key for hits in found] == [str(row) for row in range(ROWS)], "row numbers, as text"
    assert found[0][0].fields["price"] == 1.0
    assert fleet.requests[-1].consistency.session.positions == {0: 9}, "a read sees at least what was imported"


def test_the_same_file_again_is_left_out_by_any_client(client: Client, fleet: FakeFleet, file: Path) -> None:
    first = client.import_rows("things", open_source(file), part_rows=64)
    sent = parts_of(fleet)
    fleet.requests.clear()
    with Client(fleet.address) as other:
        again = other.import_rows("things", open_source(str(file)), part_rows=64)
    assert (first.repeated, again.repeated, again.rows) == (0, ROWS, ROWS)
    assert parts_of(fleet) == sent[-1:], "all ranges were asked about, and only the last one was read"


def test_a_file_that_was_written_anew_is_imported_anew(client: Client, fleet: FakeFleet, file: Path) -> None:
    client.import_rows("things", open_source(file), part_rows=64)
    os.utime(file, ns=(1, 1))
    assert client.import_rows("things", open_source(file), part_rows=64).repeated == 0


@pytest.mark.parametrize(
    ("options", "more"),
    [({"part_rows": 63}, {}), ({"resume": False}, {}), ({"import_id": "another"}, {}), ({}, {"fields": []})],
)
def test_what_changes_the_rows_or_the_cut_changes_the_names(
    client: Client, fleet: FakeFleet, file: Path, options: dict[str, object], more: dict[str, object]
) -> None:
    client.import_rows("things", open_source(file), part_rows=64)
    again = client.import_rows("things", open_source(file, **more), **{"part_rows": 64, **options})  # type: ignore[arg-type]
    assert again.repeated == 0


def test_a_collection_that_was_made_anew_gets_everything(client: Client, file: Path) -> None:
    made, source = client.describe("things"), open_source(file)
    ids = {
        plan(source, into, 64, "", True).request_id(number, shard)
        for into in (made, replace(made, uid="another"))
        for number in (0, 1)
        for shard in (0, 1)
    }
    assert len(ids) == 8


def test_an_import_that_stopped_goes_on_where_it_was(client: Client, fleet: FakeFleet, file: Path) -> None:
    stored = iter([False] * 5)
    real = fleet._arrived

    def arrived(method: str, request: object) -> object:
        if method == "Import" and request.rows and next(stored, True):  # type: ignore[attr-defined]
            fleet.fail("Import", code=grpc.StatusCode.INTERNAL)
        return real(method, request)

    fleet._arrived = arrived  # type: ignore[method-assign, assignment]
    with pytest.raises(ImportFailed, match=r"320 rows are stored; the same import again goes on") as stopped:
        client.import_rows("things", open_source(file), part_rows=64, parallel=1)
    assert stopped.value.stored == 320
    assert client.count("things") == 320
    fleet._arrived = real  # type: ignore[method-assign]
    fleet.requests.clear()
    result = client.import_rows("things", open_source(file), part_rows=64)
    assert (result.rows, result.repeated) == (ROWS, 320)
    assert client.count("things") == ROWS
    assert len(parts_of(fleet)) == 1 + 3, "the last part that was stored, and those that were not"


def test_lost_replies_and_a_full_server_are_waited_out_and_double_nothing(client: Client, fleet: FakeFleet) -> None:
    fleet.lose_replies("Import", times=3)
    fleet.fill("Import", times=2)
    told: list[VectorFleetError] = []
    result = client.import_rows("things", from_arrays(VECTORS), part_rows=50, full=told.append)
    assert result.rows == client.count("things") == ROWS
    assert [type(error) for error in told if error.retry_after] == [ResourceExhausted] * len(told)
    assert client.describe("things").shards[0].replicas[0].position == 1 + 10, "each part was applied once"


def test_a_row_that_cannot_be_read_is_named_and_nothing_of_its_part_is_stored(client: Client) -> None:
    broken = VECTORS.copy()
    broken[333] = np.inf
    with pytest.raises(ImportFailed, match=r"row 333.*300 rows are stored") as stopped:
        client.import_rows("things", from_arrays(broken), part_rows=100, parallel=1)
    assert isinstance(stopped.value.__cause__, SourceError)
    assert client.count("things") == stopped.value.stored == 300


def test_rows_that_cannot_be_packed_are_named_and_nothing_of_their_part_is_stored(client: Client) -> None:
    fields = {"lang": [*["en"] * 133, 7, *["en"] * (ROWS - 134)]}
    with pytest.raises(ImportFailed, match=r"rows 100 to 199 of the source: fields\[lang\] mixes str") as stopped:
        client.import_rows("things", from_arrays(VECTORS, fields=fields), part_rows=100, parallel=1)
    assert client.count("things") == stopped.value.stored == 100


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (from_arrays(VECTORS[:, :2]), "the source has vectors of 2 dimensions and things has 3"),
        (from_arrays(VECTORS, fields={"colour": ["red"] * ROWS}), "things has no field colour"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_before_anything_is_sent(
    client: Client, fleet: FakeFleet, source: object, message: str
) -> None:
    with pytest.raises(ImportFailed, match=message):
        client.import_rows("things", source)  # type: ignore[arg-type]
    assert parts_of(fleet) == []


@pytest.mark.parametrize(("option", "value"), [("parallel", 0), ("part_rows", -1)])
def test_options_out_of_range_are_refused(client: Client, option: str, value: int) -> None:
    with pytest.raises(InvalidArgument, match=f"{option} is {value}"):
        client.import_rows("things", from_arrays(VECTORS), **{option: value})  # type: ignore[arg-type]


def test_lines_without_a_known_length_go_on_too(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    line = '{"key": "k%d", "vector": [1, 2, %d]%s}\n'
    path.write_text("".join(line % (row, row, ', "lang": "en"' if row > 4200 else "") for row in range(4300)))
    assert client.import_rows("things", open_source(path), part_rows=1000).repeated == 0
    assert client.count("things", filter='lang == "en"') == 99
    again = client.import_rows("things", open_source(path), part_rows=1000)
    assert (again.rows, again.repeated) == (4300, 4300)


async def test_both_clients_cut_and_name_parts_alike(fleet: FakeFleet, client: Client, file: Path) -> None:
    client.import_rows("things", open_source(file), part_rows=64)
    sent = parts_of(fleet)
    fleet.requests.clear()

    async with AsyncClient(fleet.address) as other:
        broken = VECTORS.copy()
        broken[10] = np.nan
        with pytest.raises(ImportFailed, match="row 10"):
            await other.import_rows("things", from_arrays(broken))
        result = await other.import_rows("things", open_source(file), part_rows=64)
        assert (result.rows, result.repeated) == (ROWS, ROWS)
        result = await other.import_rows("things", from_arrays(VECTORS), part_rows=100)
        assert (result.rows, result.repeated) == (ROWS, 0)
        assert await other.count("things") == 2 * ROWS
    assert parts_of(fleet)[0] == sent[-1]


class Breaking:
    """A source whose third part cannot be read, and whose server does not answer any more from the second on."""

    identity = ""
    rows = None

    def __init__(self, fleet: FakeFleet, pause: ExitStack) -> None:
        self._fleet = fleet
        self._pause = pause

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        yield Batch(list(range(100)), {"default": VECTORS[:100]})
        self._pause.enter_context(self._fleet.paused())
        yield Batch(list(range(100, 200)), {"default": VECTORS[100:200]})
        raise SourceError("row 200: is not there")

    def schema(self) -> SourceSchema:
        raise AssertionError("nobody asks")


def test_an_import_that_fails_does_not_wait_for_what_is_under_way(client: Client, fleet: FakeFleet) -> None:
    with ExitStack() as pause, pytest.raises(ImportFailed, match="row 200"):
        client.import_rows("things", Breaking(fleet, pause), part_rows=100)


async def test_an_asynchronous_one_does_not_either(client: Client, fleet: FakeFleet) -> None:
    async with AsyncClient(fleet.address) as other:
        with ExitStack() as pause, pytest.raises(ImportFailed, match="row 200"):
            await other.import_rows("things", Breaking(fleet, pause), part_rows=100)
