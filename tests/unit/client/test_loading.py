"""Bulk loads: several batches in flight, types by the collection's schema, and where to go on after a failure."""

from __future__ import annotations

import numpy as np
import pytest

from vectorfleet import Client, InvalidArgument, LoadFailed, ResourceExhausted, VectorFleetError, from_arrays
from vectorfleet.testing import FakeFleet

ROWS = 500
VECTORS = np.random.default_rng(2).standard_normal((ROWS, 3), dtype=np.float32)


def test_all_rows_arrive_and_progress_only_grows(client: Client) -> None:
    seen: list[int] = []
    source = from_arrays(VECTORS, fields={"price": [1] * ROWS})
    result = client.load("things", source, batch_size=33, progress=lambda done, rows: seen.append(done))
    assert result.rows == client.count("things") == ROWS
    assert seen == sorted(seen)
    assert seen[-1] == ROWS
    found = client.search("things", VECTORS, k=1, output_fields=["price"]).hits
    assert [hits[0].key for hits in found] == [str(row) for row in range(ROWS)], "row numbers, as text"
    assert found[0][0].fields["price"] == 1.0


def test_a_load_rides_out_failures_and_doubles_nothing(client: Client, fleet: FakeFleet) -> None:
    fleet.lose_replies("Upsert", times=7)
    client.load("things", from_arrays(VECTORS), batch_size=50)
    assert fleet.calls["Upsert"] == 10 + 7
    assert client.describe("things").shards[0].replicas[0].position == 1 + 10, "each batch was applied once"


def test_a_load_tells_each_wait_for_room_and_goes_on(client: Client, fleet: FakeFleet) -> None:
    fleet.fill("Upsert", times=5)
    told: list[VectorFleetError] = []
    loaded = client.load("things", from_arrays(VECTORS), batch_size=50, full=told.append)
    assert loaded.rows == len(VECTORS)
    assert [type(error) for error in told] == [ResourceExhausted] * 5


def test_a_load_that_stops_says_where_to_go_on(client: Client) -> None:
    broken = VECTORS.copy()
    broken[333] = np.inf
    with pytest.raises(LoadFailed, match=r"row 333.*skip=") as stopped:
        client.load("things", from_arrays(broken), batch_size=50)
    assert stopped.value.stored <= 300
    assert stopped.value.__cause__ is not None
    result = client.load("things", from_arrays(VECTORS), batch_size=50, skip=stopped.value.stored)
    assert result.rows == ROWS - stopped.value.stored
    assert client.count("things") == ROWS


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (from_arrays(VECTORS[:, :2]), "the source has vectors of 2 dimensions and things has 3"),
        (from_arrays(VECTORS, fields={"colour": ["red"] * ROWS}), "things has no field colour"),
        (from_arrays({"a": VECTORS}), r"things has no vector a \(vectors: default\)"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_before_anything_is_written(
    client: Client, fleet: FakeFleet, source: object, message: str
) -> None:
    with pytest.raises(LoadFailed, match=message):
        client.load("things", source)  # type: ignore[arg-type]
    assert "Upsert" not in fleet.calls


def test_text_keys_do_not_fit_a_collection_of_numbers(client: Client) -> None:
    client.create_collection("numbered", 3, key="Int64")
    client.load("numbered", from_arrays(VECTORS, [str(row) for row in range(ROWS)]))
    assert client.get("numbered", [7])[0].key == 7
    with pytest.raises(LoadFailed, match="keys are whole numbers"):
        client.load("numbered", from_arrays(VECTORS[:1], ["seven"]))


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"skip": -1}, {"in_flight": 0}])
def test_numbers_that_cannot_be_are_refused(client: Client, arguments: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(arguments))):
        client.load("things", from_arrays(VECTORS), **arguments)  # type: ignore[arg-type]


def test_arrays_and_documents_are_loaded_by_the_types_of_the_collection(client: Client) -> None:
    client.create_collection("papers", 3, fields={"weights": "Float64Array", "meta": "Json"})
    fields = {"weights": [[1], [], None], "meta": [{"a": 1}, ["x"], 3]}
    client.load("papers", from_arrays(VECTORS[:3], fields=fields), batch_size=1)
    rows = client.get("papers", ["0", "1", "2"], output_fields=["*"])
    assert [row.fields["weights"] for row in rows] == fields["weights"]
    assert [row.fields["meta"] for row in rows] == fields["meta"]
