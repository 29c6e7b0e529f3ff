"""The asynchronous client does what the synchronous one does."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import numpy as np
import pytest

from vectorfleet import AsyncClient, Client, InvalidArgument, LoadFailed, RetryPolicy, Unavailable, from_arrays
from vectorfleet.testing import FakeFleet

AXES = np.eye(3, dtype=np.float32)


@pytest.fixture
async def client(fleet: FakeFleet) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fleet.address, retry=RetryPolicy(attempts=4, first=0.001)) as made:
        await made.create_collection("things", 3, fields={"lang": "String"})
        yield made


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        assert inspect.signature(method).parameters == inspect.signature(getattr(AsyncClient, name)).parameters, name


async def test_rows_are_written_found_read_counted_and_deleted(client: AsyncClient) -> None:
    await client.upsert("things", ["a", "b", "c"], AXES, fields={"lang": ["en", "de", None]})
    assert [hit.key for hit in (await client.search("things", AXES[1], k=1)).hits[0]] == ["b"]
    assert (await client.get("things", ["b"]))[0].fields == {"lang": "de"}
    await client.delete("things", ["b"])
    assert await client.count("things") == 2
    assert (await client.describe("things")).rows == 2
    assert len(await client.collections()) == 1


async def test_a_lost_reply_does_not_double_a_write(client: AsyncClient, fleet: FakeFleet) -> None:
    fleet.lose_replies("Upsert")
    written = await client.upsert("things", ["a"], AXES[:1])
    assert fleet.calls["Upsert"] == 2
    assert written.positions == {0: 2}


async def test_a_write_waits_for_a_full_server(client: AsyncClient, fleet: FakeFleet) -> None:
    fleet.fill("Upsert", times=2)
    await client.upsert("things", ["a"], AXES[:1])
    assert fleet.calls["Upsert"] == 3


async def test_errors_are_the_same(client: AsyncClient, fleet: FakeFleet) -> None:
    fleet.fail("Count", times=9)
    with pytest.raises(Unavailable):
        await client.count("things")
    with pytest.raises(InvalidArgument):
        await client.upsert("things", ["a"], AXES)


async def test_a_load_writes_all_rows_with_several_batches_in_flight(client: AsyncClient) -> None:
    vectors = np.random.default_rng(3).standard_normal((1000, 3), dtype=np.float32)
    seen: list[tuple[int, int | None]] = []
    result = await client.load(
        "things", from_arrays(vectors), batch_size=64, progress=lambda done, rows: seen.append((done, rows))
    )
    assert result.rows == await client.count("things") == 1000
    assert seen[-1] == (1000, 1000)


async def test_a_load_that_stops_says_where_to_go_on(client: AsyncClient, fleet: FakeFleet) -> None:
    vectors = np.ones((100, 3), dtype=np.float32)
    vectors[70] = np.nan
    with pytest.raises(LoadFailed, match=r"row 70.*skip=70") as stopped:
        await client.load("things", from_arrays(vectors), batch_size=10, in_flight=1)
    assert stopped.value.stored == 70
