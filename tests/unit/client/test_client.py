"""What users of the synchronous client rely on, against the in-memory fake over real gRPC."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest

from vectorfleet import (
    AlreadyExists,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    FieldSchema,
    FieldType,
    InvalidArgument,
    NotFound,
    Quantization,
    ResourceExhausted,
    RetryPolicy,
    ServerError,
    Session,
    Unavailable,
    VectorFleetError,
    VectorSchema,
)
from vectorfleet.testing import FakeFleet

AXES = np.eye(3, dtype=np.float32)
FIELDS = {"lang": ["en", "de", None], "year": [2020, None, 2022], "price": [1.5, 2, None], "sold": [True, False, True]}


def test_what_was_written_is_found_with_its_fields_and_vectors(client: Client) -> None:
    written = client.upsert("things", ["a", "b", "c"], AXES, fields=FIELDS)
    assert written.rows == 3
    result = client.search("things", [1.0, 0.1, 0.0], k=2, output_fields=["*"], include_vectors=True)
    first, second = result.hits[0]
    assert (first.key, second.key) == ("a", "b")
    assert first.score == pytest.approx(1 / np.hypot(1, 0.1), abs=1e-6)
    assert dict(second.fields) == {"lang": "de", "year": None, "price": 2.0, "sold": False}
    np.testing.assert_array_equal(first.vectors["default"], AXES[0])
    assert result.indexes == ("Exact",)


def test_a_search_has_one_list_of_hits_per_query_and_fewer_than_k_where_fewer_match(client: Client) -> None:
    client.upsert("things", ["a", "b", "c"], AXES, fields=FIELDS)
    hits = client.search("things", AXES, k=5, filter='lang == "en" or year > 2021').hits
    assert [[hit.key for hit in found] for found in hits] == [["a", "c"], ["a", "c"], ["c", "a"]]
    assert client.search("things", np.zeros((0, 3)), k=5).hits == []


def test_rows_are_read_counted_and_deleted_by_key(client: Client) -> None:
    client.upsert("things", np.array(["a", "b", "c"]), AXES, fields=FIELDS)
    assert [row.key for row in client.get("things", ["c", "nothing", "a"])] == ["c", "a"]
    assert client.get("things", ["a"])[0].fields["lang"] == "en"
    assert client.count("things") == 3
    client.delete("things", ["a", "nothing"])
    assert client.count("things", filter="not sold == true") == 1
    assert client.get("things", []) == []


def test_whole_number_keys_and_several_vectors_work(client: Client) -> None:
    vectors = (
        VectorSchema(name="title", dimensions=2),
        VectorSchema(name="body", dimensions=3, quantization=Quantization.INT8),
    )
    fields = [FieldSchema(name="lang", type=FieldType.STRING)]
    client.create_collection("pages", key="Int64", vectors=vectors, fields=fields)
    assert [vector.quantization for vector in client.describe("pages").vectors] == ["Auto", "Int8"]
    client.upsert("pages", np.array([7, 8]), {"title": [[1, 0], [0, 1]], "body": AXES[:2]})
    assert client.search("pages", [0, 1], vector="title", k=1).hits[0][0].key == 8


def test_describe_tells_schema_and_replicas(client: Client) -> None:
    client.upsert("things", ["a"], AXES[:1])
    told = client.describe("things")
    assert [(vector.name, vector.dimensions, vector.metric) for vector in told.vectors] == [("default", 3, "Cosine")]
    replica = told.shards[0].replicas[0]
    assert (replica.node, replica.ready, replica.leader, replica.rows) == ("fake", True, True, 1)
    assert told.rows == 1
    assert told.sealed
    assert [each.name for each in client.collections()] == ["things"]


def test_a_lost_reply_does_not_double_a_write(client: Client, fleet: FakeFleet) -> None:
    fleet.lose_replies("Upsert", times=2)
    written = client.upsert("things", ["a"], AXES[:1])
    sent = {request.SerializeToString() for request in fleet.requests}
    assert fleet.calls["Upsert"] == 3
    assert len(sent) == 1, "a retry is the same bytes: same request id, same floor"
    assert written.positions == {0: 2}, "applied once"


def test_a_write_waits_for_a_full_server_and_is_sent_again_as_the_same_bytes(client: Client, fleet: FakeFleet) -> None:
    fleet.fill("Upsert", times=12)  # more than a policy has attempts
    client.upsert("things", ["a"], AXES[:1])
    assert fleet.calls["Upsert"] == 13
    assert len({request.SerializeToString() for request in fleet.requests}) == 1


def test_a_server_that_stays_full_is_told_as_such(client: Client, fleet: FakeFleet) -> None:
    fleet.fill("Upsert", retry_after=1000)
    with pytest.raises(ResourceExhausted, match="the server is full") as told:
        client.upsert("things", ["a"], AXES[:1])
    assert told.value.retry_after == 1000


def test_reads_are_retried_until_they_succeed(client: Client, fleet: FakeFleet) -> None:
    fleet.fail("Count", times=3)
    assert client.count("things") == 0
    assert fleet.calls["Count"] == 4


def test_retries_end_and_the_last_error_is_told(client: Client, fleet: FakeFleet) -> None:
    fleet.fail("Count", times=10)
    with pytest.raises(Unavailable, match="a fault asked for"):
        client.count("things")
    assert fleet.calls["Count"] == 4


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.INTERNAL, ServerError),
    ],
)
def test_what_will_not_get_better_is_not_retried(
    client: Client, fleet: FakeFleet, code: grpc.StatusCode, error: type[VectorFleetError]
) -> None:
    fleet.fail("Upsert", code=code)
    with pytest.raises(error):
        client.upsert("things", ["a"], AXES[:1])
    assert fleet.calls["Upsert"] == 1


def test_a_dead_address_is_unavailable_within_the_timeout() -> None:
    with Client("127.0.0.1:1", retry=RetryPolicy(attempts=100)) as client, pytest.raises(Unavailable):
        client.count("things", timeout=0.5)


def test_a_server_that_never_answers_is_a_deadline(fleet: FakeFleet) -> None:
    with Client(fleet.address) as client, fleet.paused(), pytest.raises(DeadlineExceeded):
        client.count("things", timeout=0.2)


def test_a_client_sends_what_it_has_seen(client: Client, fleet: FakeFleet) -> None:
    client.upsert("things", ["a"], AXES[:1])
    client.search("things", AXES[0], k=1)
    client.search("things", AXES[0], k=1, consistency="Eventual")
    client.upsert("things", ["b"], AXES[1:2])
    session, eventual, write = fleet.requests[1:]
    assert dict(session.consistency.session.positions) == {0: 2}
    assert not eventual.consistency.session.positions
    assert dict(write.floor.positions) == {0: 2}


def test_a_session_can_be_handed_to_another_client(client: Client, fleet: FakeFleet) -> None:
    client.upsert("things", ["a"], AXES[:1])
    handed = Session.from_json(client.session.to_json())
    with Client(fleet.address) as other:
        other.search("things", AXES[0], session=handed)
        assert dict(fleet.requests[-1].consistency.session.positions) == {0: 2}
        assert not other.session.token("things").positions, "the other client's own session stays as it was"


def test_a_write_too_big_for_one_message_is_split_and_stays_idempotent(
    client: Client, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vectorfleet.calls.MAX_REQUEST_BYTES", 2000)
    vectors = np.random.default_rng(0).standard_normal((500, 3), dtype=np.float32)
    written = client.upsert("things", [f"k{n}" for n in range(500)], vectors, fields={"lang": ["en" * 20] * 500})
    sent = [request for request in fleet.requests if request.DESCRIPTOR.name == "UpsertRequest"]
    assert len(sent) > 10
    assert max(request.ByteSize() for request in sent) < 2100
    assert len({request.request_id for request in sent}) == len(sent)
    assert written.rows == client.count("things") == 500
    found = client.search("things", vectors, k=1)
    assert [hits[0].key for hits in found.hits] == [f"k{n}" for n in range(500)]
    client.upsert(
        "things",
        [f"k{n}" for n in range(500)],
        vectors,
        fields={"lang": ["en" * 20] * 500},
        request_id=written.request_id,
    )
    assert client.describe("things").shards[0].replicas[0].position == len(sent) + 1, (
        "the same id again changes nothing"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keys": ["a", "b"], "vectors": AXES}, "vectors\\[default\\] has 3 rows and there are 2 keys"),
        ({"keys": ["a"], "vectors": AXES[:1], "fields": {"lang": ["x", "y"]}}, "fields\\[lang\\] has 2 rows"),
        ({"keys": ["a", 1], "vectors": AXES[:2]}, "keys\\[1\\] is 1"),
        ({"keys": [None], "vectors": AXES[:1]}, "keys\\[0\\] is None"),
        ({"keys": [1 << 63], "vectors": AXES[:1]}, "does not fit 64 bits"),
        ({"keys": ["a"], "vectors": AXES[:1], "fields": {"lang": [b"x"]}}, "fields\\[lang\\] is b'x' in row 0"),
        ({"keys": ["a"], "vectors": [["x", "y", "z"]]}, "not a table of numbers"),
        ({"keys": ["a"], "vectors": AXES[:1, :2]}, "vectors\\[default\\] has 2 dimensions; expected 3"),
        ({"keys": ["a"], "vectors": AXES[:1], "request_id": "x" * 65}, "request_id has 65 characters"),
    ],
)
def test_a_wrong_write_is_refused_with_what_is_wrong(
    client: Client, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        client.upsert("things", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"consistency": "Strongest"}, "expected one of Strong, Session, Bounded, Eventual"),
        ({"max_staleness": -1}, "max_staleness is -1"),
    ],
)
def test_a_wrong_search_is_refused_with_what_is_allowed(
    client: Client, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        client.search("things", AXES[0], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimensions": 0}, "dimensions: Input should be greater than or equal to 1, not 0"),
        ({}, "either dimensions"),
        ({"dimensions": 3, "metric": "Hamming"}, "metric: Input should be 'Cosine', 'L2' or 'Dot', not 'Hamming'"),
        ({"dimensions": 3, "fields": {"lang": "Text"}}, "'Text' is not a valid FieldType"),
        ({"dimensions": 3, "key": "UUID"}, "'UUID' is not a valid KeyType"),
        (
            {"dimensions": 3, "quantization": "PQ"},
            "quantization: Input should be 'Auto', 'Float16' or 'Int8', not 'PQ'",
        ),
        ({"dimensions": 3, "index": "Exact", "quantization": "Int8"}, "Int8 is for graphs and index Exact has none"),
    ],
)
def test_a_wrong_schema_is_refused_with_what_is_allowed(
    client: Client, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        client.create_collection("new", **arguments)  # type: ignore[arg-type]


def test_the_same_collection_again_is_no_error_and_another_schema_is(client: Client) -> None:
    client.create_collection("same", 3)
    client.create_collection("same", 3)
    with pytest.raises(AlreadyExists):
        client.create_collection("same", 4)


def test_a_client_is_shared_by_threads(client: Client) -> None:
    def work(thread: int) -> None:
        for row in range(20):
            client.upsert("things", [f"{thread}-{row}"], AXES[:1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert client.count("things") == 80
