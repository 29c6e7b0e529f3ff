"""Parts of imports: any node takes them, rows stream to the leader, and a part is stored whole, once, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from real_fleet import DIMENSIONS, NAME, SECRET, RealFleet, eventually, search, upsert, vectors

from vectorfleet.partition import shard_of
from vectorfleet.v1 import peer_pb2, peer_pb2_grpc
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import chunks, imports, validate
from vectorfleet_node.shard import succession
from vectorfleet_node.shard.batch import encode
from vectorfleet_node.shard.port import InDoubt, NotApplied, NotLeader, TooNew
from vectorfleet_node.storage.format import IMPORTS

STRONG = pb.Consistency(level=pb.Consistency.STRONG)


def keys_of(shard: int, count: int) -> list[str]:
    """Keys of one of two shards."""
    return [key for key in (f"row-{number}" for number in range(4 * count)) if shard_of(key, 2) == shard][:count]


def rows(keys: Sequence[str], seed: int = 0) -> pb.ImportRequest:
    return pb.ImportRequest(rows=upsert(list(keys), seed).rows)


def part(shard: int, keys: Sequence[str], chunk: int = 7, request_id: str = "part", **header: Any) -> list[Any]:
    """A stream: header, then chunks."""
    first = pb.ImportHeader(collection=NAME, shard=shard, request_id=request_id, **{"rows": len(keys), **header})
    cut = [rows(keys[start : start + chunk], start) for start in range(0, len(keys), chunk)]
    return [pb.ImportRequest(header=first), *cut]


async def refused(api: Any, messages: Iterable[Any], timeout: float = 60) -> tuple[grpc.StatusCode, str, str]:
    """Status, message and field of the refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await api.Import(iter(messages), timeout=timeout)
    status = rpc_status.from_call(failure.value)
    bad = error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(bad)
    return failure.value.code(), failure.value.details() or "", "".join(each.field for each in bad.field_violations)


async def count(api: Any) -> int:
    return int((await api.Count(pb.CountRequest(collection=NAME, consistency=STRONG), timeout=60)).count)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are raised to the newest format as soon as all nodes were heard."""
    monkeypatch.setattr(succession, "_FORMAT_LOOK", 0.05)


@pytest.fixture
async def risen(quick: None, three: RealFleet) -> RealFleet:
    """Three nodes whose shards can be imported into."""

    async def look() -> bool:
        placed = [entry.node.replica(NAME, shard) for entry in three.running.values() for shard in (0, 1)]
        led = [replica for replica in placed if replica is not None and replica.leads]
        return len(led) == 2 and all(replica._follower.state.format >= IMPORTS for replica in led)

    await eventually(look, what="the shards are written in a format that has imports")
    return three


async def test_every_node_takes_parts_of_every_shard(risen: RealFleet) -> None:
    for number, entry in enumerate(risen.running.values()):
        for shard in (0, 1):
            keys = [f"{key}-{number}" for key in keys_of(0, 200)]
            keys = [key for key in keys if shard_of(key, 2) == shard]
            stored = await entry.api.Import(iter(part(shard, keys, request_id=f"{number}-{shard}")), timeout=60)
            assert (stored.rows, stored.repeated) == (len(keys), False)
            assert set(stored.session.positions) == {shard}
            session = pb.Consistency(level=pb.Consistency.SESSION, session=stored.session)
            for other in risen.running.values():
                found = await other.api.Search(search(vectors(1, 0)[0], k=1, consistency=session), timeout=60)
                assert found.results[0].scores[0] == pytest.approx(1, abs=1e-3), "the first row of the part"
    assert await count(risen.running["n0"].api) == 3 * 200


async def test_the_same_id_again_is_answered_before_its_rows_are_read(risen: RealFleet) -> None:
    keys = keys_of(1, 40)
    first = await risen.running["n0"].api.Import(iter(part(1, keys)), timeout=60)
    read = 0

    async def again() -> AsyncIterator[Any]:
        nonlocal read
        for message in part(1, keys, chunk=1):
            yield message
            await asyncio.sleep(0.2)
            read += 1

    for entry in risen.running.values():
        repeated = await entry.api.Import(again(), timeout=60)
        assert repeated.repeated
        assert (repeated.session, repeated.rows) == (first.session, 40)
        asked = await entry.api.Import(iter(part(1, [])), timeout=60)
        assert asked.repeated
        assert asked.session == first.session
    assert read < 3 * 40, "no stream was read to its end"
    new = await risen.running["n0"].api.Import(iter(part(1, [], request_id="new")), timeout=60)
    assert not new.repeated
    assert not new.session.positions
    assert await count(risen.running["n0"].api) == 40


def with_vector(keys: Sequence[str], row: int, vector: Sequence[float]) -> pb.ImportRequest:
    request = rows(keys)
    data = np.frombuffer(request.rows.vectors[0].data, "<f4").reshape(-1, DIMENSIONS).copy()
    data[row] = vector
    request.rows.vectors[0].data = data.tobytes()
    return request


WRONG = [
    (lambda keys: with_vector(keys, 2, [0.0] * 4), "rows[9].vectors[default]", "(key 'row-18') is zero"),
    (lambda keys: with_vector(keys, 6, [1, np.nan, 1, 1]), "rows[13].vectors[default]", "has nan at component 1"),
    (lambda keys: rows([*keys[:4], "x" * 600]), "rows[11].keys", "of 600 bytes; 1 to 512 are allowed"),
    (lambda keys: rows([keys[0], keys_of(0, 1)[0]]), "rows[8].keys", "belongs to shard 0, not to 1"),
    (lambda keys: rows(keys_of(1, 8)[5:7]), "rows[7].keys", "is given twice"),
    (lambda keys: pb.ImportRequest(), "rows", "are absent"),
    (lambda keys: pb.ImportRequest(rows=pb.Rows()), "rows.keys", "is empty"),
]


@pytest.mark.parametrize(("make", "field", "message"), WRONG, ids=[field for _, field, _ in WRONG])
async def test_a_wrong_row_is_named_and_nothing_of_its_part_is_stored(
    one: RealFleet, make: Any, field: str, message: str
) -> None:
    keys = keys_of(1, 21)
    messages = part(1, keys)
    messages[2] = make(keys[7:14])
    api = one.running["n0"].api
    code, details, named = await refused(api, messages)
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert message in details
    assert await count(api) == 0
    assert not (await api.Import(iter(part(1, [])), timeout=60)).repeated
    assert (await api.Import(iter(part(1, keys)), timeout=60)).rows == 21, "the id is free for the right rows"


@pytest.mark.parametrize(
    ("messages", "field", "message"),
    [
        ([], "header", "the first message"),
        ([rows(["a"])], "header", "the first message"),
        (part(1, [], request_id=""), "header.request_id", "1 to 64 characters"),
        (part(1, [], request_id="x" * 65), "request_id", "has 65 characters"),
        (part(2, []), "header.shard", "is 2; the collection has the shards 0 to 1"),
        (part(1, keys_of(1, 10), rows=11), "header.rows", "is 11; 10 rows came, and then the stream ended"),
        (part(1, keys_of(1, 10), rows=8), "header.rows", "is 8; 10 rows came, and the stream goes on"),
    ],
)
async def test_a_stream_that_is_not_as_its_header_says_is_refused(
    one: RealFleet, messages: list[Any], field: str, message: str
) -> None:
    api = one.running["n0"].api
    code, details, named = await refused(api, messages)
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert message in details
    assert await count(api) == 0


async def test_a_message_may_not_be_larger_than_what_a_node_keeps_room_for(
    one: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNK_BYTES", 200)
    code, details, named = await refused(one.running["n0"].api, part(1, keys_of(1, 21), chunk=20))
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, "rows")
    assert "200 are allowed" in details


async def test_a_client_that_goes_away_leaves_nothing(risen: RealFleet) -> None:
    keys = keys_of(1, 40)
    arrived = asyncio.Event()

    async def stalled() -> AsyncIterator[Any]:
        for message in part(1, keys)[:3]:
            yield message
        arrived.set()
        await asyncio.Event().wait()

    other = next(entry for name, entry in risen.running.items() if name != risen.leader(1))
    call = other.api.Import(stalled(), timeout=60)
    await arrived.wait()
    call.cancel()

    async def let_go() -> bool:
        return not any(entry.node.write_budget.taken for entry in risen.running.values())

    await eventually(let_go, what="the streams have ended on both nodes")
    assert await count(other.api) == 0
    assert not (await other.api.Import(iter(part(1, [])), timeout=60)).repeated


async def test_a_stream_that_does_not_end_in_time_leaves_nothing(risen: RealFleet) -> None:
    async def stalled() -> AsyncIterator[Any]:
        for message in part(1, keys_of(1, 40))[:3]:
            yield message
        await asyncio.Event().wait()

    for entry in risen.running.values():
        with pytest.raises(grpc.aio.AioRpcError, match="was not finished in time") as failure:
            await entry.api.Import(stalled(), timeout=2)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not any(entry.node.write_budget.taken for entry in risen.running.values())
    assert await count(entry.api) == 0


async def test_a_node_takes_as_many_streams_as_it_has_room_for(one: RealFleet) -> None:
    entry = one.running["n0"]
    with entry.node.write_budget.taking(entry.node.write_budget._limit):
        code, details, _ = await refused(entry.api, part(1, keys_of(1, 3)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "nothing was sent" in details
    assert entry.node.write_budget.taken == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotLeader("another", "n9:1"), grpc.StatusCode.UNAVAILABLE),
        (InDoubt("may land"), grpc.StatusCode.UNAVAILABLE),
        (NotApplied("did not land"), grpc.StatusCode.ABORTED),
        (TooNew("an older format"), grpc.StatusCode.FAILED_PRECONDITION),
        (ValueError("too many rows"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_what_the_leader_says_reaches_the_client_from_any_node(
    risen: RealFleet, monkeypatch: pytest.MonkeyPatch, error: Exception, code: grpc.StatusCode
) -> None:
    async def refuse(*_: Any) -> int:
        raise error

    monkeypatch.setattr(imports, "RISE_SECONDS", 0)
    replica = risen.running[risen.leader(1)].node.replica(NAME, 1)
    replica.import_rows = refuse  # type: ignore[union-attr, method-assign, assignment]
    for entry in risen.running.values():
        told = await refused(entry.api, part(1, keys_of(1, 3)))
        assert (told[0], str(error) in told[1]) == (code, True)


def peer_part(leader_rows: int, sent: Sequence[bytes]) -> list[Any]:
    """What another node sends to a leader of shard 1."""
    header = peer_pb2.ImportShardHeader(collection=NAME, shard=1, request_id="part", rows=leader_rows)
    return [
        peer_pb2.ImportShardRequest(header=header),
        *(peer_pb2.ImportShardRequest(rows=data) for data in sent),
    ]


@pytest.mark.parametrize(
    ("wanted", "cut", "message"),
    [(5, 3, "3 of 5 rows came"), (2, 3, "3 of 2 rows came"), (3, 0, "this node has another schema")],
)
async def test_a_leader_takes_nothing_of_a_stream_that_another_node_did_not_send_whole(
    one: RealFleet, wanted: int, cut: int, message: str
) -> None:
    entry = one.running["n0"]
    whole = validate.upsert_batch(upsert(keys_of(1, 3)).rows, entry.node.schema(NAME))
    sent = [encode(whole)] if cut else [b"no rows"]
    async with grpc.aio.insecure_channel(entry.peer_address) as channel:
        stub: Any = peer_pb2_grpc.PeerStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError, match=message) as refused:
            await stub.ImportShard(
                iter(peer_part(wanted, sent)), metadata=[("authorization", f"Bearer {SECRET}")], timeout=60
            )
    assert refused.value.code() is grpc.StatusCode.ABORTED, "it may be sent again"
    assert await count(entry.api) == 0


async def test_a_part_lands_at_the_new_leader_when_the_old_one_is_gone(risen: RealFleet) -> None:
    leader = risen.leader(1)
    survivor = next(entry for name, entry in risen.running.items() if name != leader)
    await risen.running[leader].kill()
    stored = await survivor.api.Import(iter(part(1, keys_of(1, 40))), timeout=60)
    assert stored.rows == 40
    found = await survivor.api.Get(pb.GetRequest(collection=NAME, keys=pb.Keys(strings=keys_of(1, 40))), timeout=60)
    assert len(found.rows.keys.strings) == 40


async def test_a_part_that_comes_before_the_shards_are_in_the_newest_format_waits_for_that(
    one: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = one.running["n0"]
    replica = entry.node.replica(NAME, 1)
    assert replica is not None
    real, refusals = replica.import_rows, iter([TooNew("an older format")] * 2)

    async def late(*given: Any) -> int:
        for refusal in refusals:
            raise refusal
        return await real(*given)

    monkeypatch.setattr(replica, "import_rows", late)
    assert (await entry.api.Import(iter(part(1, keys_of(1, 3))), timeout=60)).rows == 3


async def test_imports_are_counted_like_other_calls(one: RealFleet) -> None:
    entry = one.running["n0"]
    await entry.api.Import(iter(part(1, keys_of(1, 3))), timeout=60)
    counted = entry.server._metrics.requests.labels("VectorFleet/Import", "OK")
    assert counted._value.get() == 1
