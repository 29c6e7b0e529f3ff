"""Scans, deletes by filter, thresholds and groups, as users of the clients see them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from vectorfleet import AsyncClient, Client, Group, InvalidArgument, RetryPolicy, ScanLost, Unavailable
from vectorfleet.errors import SCAN_LOST, from_status
from vectorfleet.requests import search
from vectorfleet.session import Session
from vectorfleet.testing import FakeFleet

KEYS = [f"row-{number:02}" for number in range(25)]
VECTORS = np.random.default_rng(1).standard_normal((25, 3), dtype=np.float32)
FIELDS = {"lang": ["en", "de", None, "fr", "en"] * 5, "year": list(range(25))}


@pytest.fixture
def loaded(client: Client) -> Client:
    client.upsert("things", KEYS, VECTORS, fields=FIELDS)
    return client


@pytest.fixture
async def other(loaded: Client, fleet: FakeFleet) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fleet.address, retry=RetryPolicy(attempts=2, first=0.001)) as made:
        yield made


def test_a_scan_gives_every_row_once_page_by_page(loaded: Client, fleet: FakeFleet) -> None:
    rows = list(loaded.scan("things", page_size=4, include_vectors=True))
    assert [row.key for row in rows] == KEYS
    assert [row.fields["year"] for row in rows] == list(range(25))
    np.testing.assert_array_equal([row.vectors["default"] for row in rows], VECTORS)
    assert fleet.calls["Scan"] == 7
    assert [row.key for row in loaded.scan("things", filter='lang == "fr"', output_fields=())] == KEYS[3::5]
    assert list(loaded.scan("things", filter="year > 100")) == []


def test_a_page_that_failed_is_asked_for_again_and_no_row_is_lost_or_doubled(loaded: Client, fleet: FakeFleet) -> None:
    rows = loaded.scan("things", page_size=10)
    assert next(rows).key == KEYS[0]
    fleet.fail("Scan", times=2)
    fleet.lose_replies("Scan")
    assert [row.key for row in rows] == KEYS[1:]


def test_a_scan_that_is_left_early_is_closed(loaded: Client, fleet: FakeFleet) -> None:
    with loaded.scan("things", page_size=4) as rows:
        assert next(rows).key == KEYS[0]
    assert fleet.requests[-1].close
    assert list(rows) == []
    with loaded.scan("things") as rows:
        assert len(list(rows)) == 25
    assert not fleet.requests[-1].close
    with loaded.scan("things", page_size=4) as rows:
        next(rows)
        fleet.fail("Scan", times=4)  # the server forgets by itself


def test_what_cannot_be_scanned_is_refused_before_anything_is_sent(client: Client, fleet: FakeFleet) -> None:
    for size in (0, -1, 20_000):
        with pytest.raises(InvalidArgument, match="page_size"):
            client.scan("things", page_size=size)
    assert fleet.calls == {}


def test_a_lost_view_is_an_error_of_its_own() -> None:
    class Lost(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.FAILED_PRECONDITION

        def details(self) -> str:
            return "the view is gone"

        def trailing_metadata(self) -> object:
            from google.rpc import error_details_pb2, status_pb2

            status = status_pb2.Status(code=9, message="the view is gone")
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason=SCAN_LOST, domain="vectorfleet.io"))
            return (("grpc-status-details-bin", status.SerializeToString()),)

    assert isinstance(from_status(Lost()), ScanLost)


async def test_the_asynchronous_client_scans_too(other: AsyncClient, fleet: FakeFleet) -> None:
    assert [row.key async for row in other.scan("things", page_size=7)] == KEYS
    async with other.scan("things", page_size=7) as rows:
        assert (await anext(rows)).key == KEYS[0]
        assert not rows.resumed
    assert fleet.requests[-1].close
    fleet.fail("Scan", times=2)
    with pytest.raises(Unavailable):
        await anext(other.scan("things"))
    assert (await other.delete("things", filter="year >= 20")).rows == 5
    assert await other.count("things") == 20


def test_rows_are_deleted_by_filter_and_counted(loaded: Client, fleet: FakeFleet) -> None:
    done = loaded.delete("things", filter="year < 10")
    assert (done.rows, done.rows_known) == (10, True)
    assert loaded.count("things") == 15
    fleet.lose_replies("Delete")
    assert loaded.delete("things", filter="year < 12").rows == 2
    with pytest.raises(InvalidArgument, match="a filter"):
        loaded.delete("things")
    with pytest.raises(InvalidArgument, match="not both"):
        loaded.delete("things", ["a"], filter="year < 3")
    assert loaded.count("things") == 13


def test_hits_below_the_threshold_are_left_out(loaded: Client) -> None:
    everything = loaded.search("things", VECTORS[0], k=25).hits[0]
    bar = everything[7].score
    assert loaded.search("things", VECTORS[0], k=25, min_score=bar).hits[0] == everything[:8]
    assert len(loaded.search("things", VECTORS[0], k=3, min_score=bar).hits[0]) == 3


def test_groups_come_with_their_values_and_best_rows(loaded: Client) -> None:
    everything = loaded.search("things", VECTORS[:2], k=25, output_fields=["lang"]).hits
    found = loaded.search("things", VECTORS[:2], k=3, group_by="lang", group_size=2, output_fields=["lang"])
    for query, hits in enumerate(everything):
        langs = list(dict.fromkeys(hit.fields["lang"] for hit in hits))[:3]
        wanted = [Group(lang, [hit for hit in hits if hit.fields["lang"] == lang][:2]) for lang in langs]
        assert found.groups[query] == wanted
        assert found.hits[query] == [hit for group in wanted for hit in group.hits]
    assert loaded.search("things", VECTORS[0], k=3, filter="year > 90", group_by="lang").groups == [[]]
    assert loaded.search("things", VECTORS[0], k=3).groups == []
    with pytest.raises(InvalidArgument, match="group_size"):
        loaded.search("things", VECTORS[0], group_by="lang", group_size=0)


def test_many_queries_with_a_large_k_travel_as_several_requests() -> None:
    options = {"vector": "", "filter": "", "output_fields": (), "consistency": None, "max_staleness": 0.0}
    more = {"allow_partial": False, "exact": False, "ef": 0, "target_recall": None, "min_score": None}
    more |= {"group_by": "", "explain": False}
    queries = np.ones((1000, 64), np.float32)
    for k, size, vectors in ((16_384, 1, False), (100, 40, False), (1000, 1, True), (1, 1, False)):
        call = search(Session(), "things", queries, k=k, include_vectors=vectors, group_size=size, **options, **more)  # type: ignore[arg-type]
        counts = [len(request.queries) // 256 for request in call.requests]
        assert sum(counts) == 1000
        assert all(count * k * size <= 1 << 20 for count in counts)
        assert not vectors or all(count * k * 64 * 4 <= 256 << 20 for count in counts)
        assert k > 1 or len(counts) == 1
