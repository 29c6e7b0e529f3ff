"""Real nodes on loopback over one store: any node answers for all, and no answer is silently short."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from real_fleet import NAME, PLACEMENT, RealFleet, eventually, search, upsert, vectors

from vectorfleet.v1 import peer_pb2, peer_pb2_grpc
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.shard.port import DeletePart, NotApplied, NotLeader
from vectorfleet_node.storage.format import FORMAT, READABLE

KEYS = [f"row-{number}" for number in range(60)]
STRONG = pb.Consistency(level=pb.Consistency.STRONG)


async def count(api: object, **more: object) -> int:
    consistency = more.pop("consistency", STRONG)
    response = await api.Count(pb.CountRequest(collection=NAME, consistency=consistency, **more), timeout=30)  # type: ignore[attr-defined, arg-type]
    return int(response.count)


async def test_what_one_node_wrote_every_node_finds_reads_counts_and_deletes(three: RealFleet) -> None:
    written = await three.running["n0"].api.Upsert(upsert(KEYS))
    assert written.rows == len(KEYS)
    assert set(written.session.positions) == {0, 1}
    session = pb.Consistency(level=pb.Consistency.SESSION, session=written.session)
    query = vectors(len(KEYS))[5]
    similarity = vectors(len(KEYS)) @ query / np.linalg.norm(vectors(len(KEYS)), axis=1)
    best = [KEYS[row] for row in np.argsort(-similarity)[:3]]
    for entry in three.running.values():
        found = await entry.api.Search(search(query, consistency=session, output_fields=["*"], include_vectors=True))
        assert list(found.results[0].rows.keys.strings) == best
        assert list(found.results[0].scores) == sorted(found.results[0].scores, reverse=True)
        assert len(found.results[0].rows.vectors[0].data) == 3 * 4 * 4
        assert len(found.results[0].rows.fields[0].strings.values) == 3
        keys = pb.Keys(strings=["row-9", "absent", "row-1", "row-30"])
        got = await entry.api.Get(
            pb.GetRequest(collection=NAME, keys=keys, consistency=session, output_fields=["lang"])
        )
        assert list(got.rows.keys.strings) == ["row-9", "row-1", "row-30"]
        assert list(got.rows.fields[0].strings.values) == ["en", "de", "en"]
        assert await count(entry.api, consistency=session) == 60
        assert await count(entry.api, consistency=session, filter='lang == "en"') == 20
    await three.running["n2"].api.Delete(pb.DeleteRequest(collection=NAME, keys=pb.Keys(strings=KEYS[:10])))
    for entry in three.running.values():
        assert await count(entry.api) == 50


async def test_a_request_sent_twice_through_two_nodes_is_applied_once(three: RealFleet) -> None:
    first = await three.running["n0"].api.Upsert(upsert(KEYS, request_id="the-same"))
    await three.running["n1"].api.Delete(pb.DeleteRequest(collection=NAME, keys=pb.Keys(strings=KEYS)))
    again = await three.running["n2"].api.Upsert(upsert(KEYS, request_id="the-same"))
    assert again.session == first.session
    assert await count(three.running["n0"].api) == 0


async def test_writes_go_on_and_no_read_fails_when_a_leader_dies(three: RealFleet) -> None:
    await three.running["n2"].api.Upsert(upsert(KEYS))
    leader = three.leader(1)
    survivor = next(entry for name, entry in three.running.items() if name != leader)
    failures: list[str] = []
    answered = 0
    stop = asyncio.Event()

    async def read() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                found = await survivor.api.Search(search(vectors(1), level=pb.Consistency.EVENTUAL), timeout=30)
                assert len(found.results[0].scores) == 3
                answered += 1
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error.code()}: {error.details()}")

    reading = asyncio.create_task(read())
    await three.running[leader].kill()
    written = await survivor.api.Upsert(upsert([f"new-{number}" for number in range(20)]), timeout=60)
    assert set(written.session.positions) == {0, 1}
    stop.set()
    await reading
    assert failures == []
    assert answered > 0
    assert await count(survivor.api) == 80


async def test_a_dead_leader_is_replaced_without_any_write(three: RealFleet) -> None:
    leader = three.leader(1)
    await three.running[leader].kill()
    zombie = three.running[leader].node.replica(NAME, 1)
    others = [entry for name, entry in three.running.items() if name != leader]

    async def replaced() -> bool:
        replicas = [entry.node.replica(NAME, 1) for entry in others]
        return any(replica is not None and replica.leads for replica in replicas)

    await eventually(replaced, what="another node leads")
    assert zombie is not None
    with pytest.raises(NotLeader if not zombie.leads else NotApplied):
        await zombie.append("zombie", 0, DeletePart(("row-1",)))


async def test_a_shard_without_replicas_fails_the_call_or_is_named_in_a_partial_answer(three: RealFleet) -> None:
    await three.running["n0"].api.Upsert(upsert(KEYS))
    await three.running["n1"].kill()
    await three.running["n2"].kill()
    api = three.running["n0"].api
    calls = (
        api.Search(search(vectors(1), level=pb.Consistency.EVENTUAL), timeout=30),
        api.Count(pb.CountRequest(collection=NAME), timeout=30),
        api.Get(pb.GetRequest(collection=NAME, keys=pb.Keys(strings=KEYS)), timeout=30),
    )
    for failed in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(failed, grpc.aio.AioRpcError)
        assert failed.code() == grpc.StatusCode.UNAVAILABLE
        assert "shards 1 of things" in (failed.details() or "")
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(failed)
        assert status is not None
        assert status.details[0].Unpack(info)
        assert info.metadata["shards"] == "1"
    partial = await api.Search(search(vectors(1), level=pb.Consistency.EVENTUAL, allow_partial=True), timeout=30)
    assert list(partial.missing_shards) == [1]
    assert list(partial.session.positions) == [0]
    counted = await api.Count(
        pb.CountRequest(collection=NAME, allow_partial=True, consistency=pb.Consistency(level=pb.Consistency.EVENTUAL))
    )
    assert list(counted.missing_shards) == [1]
    assert 0 < counted.count < 60


async def test_a_write_that_lands_in_one_shard_only_tells_which_keys_failed(three: RealFleet) -> None:
    await three.running["n1"].kill()
    await three.running["n2"].kill()

    async def leads() -> bool:
        replica = three.running["n0"].node.replica(NAME, 0)
        return replica is not None and replica.leads

    await eventually(leads, what="n0 leads shard 0")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await three.running["n0"].api.Upsert(upsert(KEYS, request_id="half"), timeout=3)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(failed.value)
    detail = pb.WriteFailure()
    assert status is not None
    assert status.details[0].Unpack(detail)
    assert list(detail.landed.positions) == [0]
    assert [part.shard for part in detail.parts] == [1]
    assert set(detail.parts[0].keys.strings) < set(KEYS)
    assert "same request_id" in (failed.value.details() or "")


async def test_with_a_dead_store_writes_and_strong_reads_fail_and_the_others_keep_their_promise(
    three: RealFleet,
) -> None:
    api = three.running["n0"].api
    written = await api.Upsert(upsert(KEYS))
    await count(api)
    for entry in three.running.values():
        assert await count(entry.api) == 60
    three.store.alive = False
    levels = pb.Consistency
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.Upsert(upsert(["late"]), timeout=3)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    for consistency in (levels(level=levels.STRONG), levels(level=levels.BOUNDED, max_staleness_seconds=0.001)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await api.Search(search(vectors(1), consistency=consistency), timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    for consistency in (
        levels(level=levels.EVENTUAL),
        levels(level=levels.SESSION, session=written.session),
        levels(level=levels.BOUNDED, max_staleness_seconds=600),
    ):
        found = await api.Search(search(vectors(1), consistency=consistency), timeout=20)
        assert len(found.results[0].scores) == 3

    async def told() -> bool:
        report = three.running["n0"].node.report().collections[0]
        return report.storage == peer_pb2.STORAGE_UNREACHABLE and "still served" in report.message

    await eventually(told, what="the report tells that the store is away")
    assert three.running["n0"].node.waiting() == []
    three.store.alive = True

    async def healed() -> bool:
        return three.running["n0"].node.report().collections[0].storage == peer_pb2.STORAGE_OK

    await eventually(healed, what="the report tells that the store is back")
    await api.Upsert(upsert(["after"]), timeout=30)


async def test_a_session_beyond_the_log_or_of_another_collection_is_refused(three: RealFleet) -> None:
    api = three.running["n0"].api
    written = await api.Upsert(upsert(KEYS))
    beyond = pb.SessionToken(uid=written.session.uid, positions={0: 10_000})
    foreign = pb.SessionToken(uid="another", positions={0: 1})
    for token in (beyond, foreign):
        consistency = pb.Consistency(level=pb.Consistency.SESSION, session=token)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await api.Search(search(vectors(1), consistency=consistency), timeout=20)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_new_topology_moves_a_shard_and_drops_it_where_it_was(three: RealFleet) -> None:
    await three.running["n0"].api.Upsert(upsert(KEYS))
    moved = {**PLACEMENT, 1: ("n0", "n2")}
    await three.place(moved)
    await three.ready()

    async def dropped() -> bool:
        return three.running["n1"].node.replica(NAME, 1) is None

    await eventually(dropped, what="n1 has dropped shard 1")
    assert three.running["n0"].node.replica(NAME, 1) is not None
    folder = next((three.folder / "n1").glob("*/"), None)
    assert folder is None or not (folder / "1").exists()
    for entry in three.running.values():
        assert await count(entry.api) == 60


async def test_an_older_topology_and_a_broken_one_are_refused(three: RealFleet) -> None:
    old = three.topology(PLACEMENT).model_copy(update={"fence": 0})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await three.push(three.running["n0"], old)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("metadata", [None, [("authorization", "Bearer wrong")], [("authorization", "between us")]])
async def test_a_peer_call_without_the_secret_is_refused(
    one: RealFleet, metadata: list[tuple[str, str]] | None
) -> None:
    async with grpc.aio.insecure_channel(one.running["n0"].peer_address) as channel:
        stub = peer_pb2_grpc.PeerStub(channel)  # type: ignore[no-untyped-call]
        for call in (stub.Report(peer_pb2.ReportRequest(), metadata=metadata),):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        # A rotation: the older secret is still good.
        await stub.Report(peer_pb2.ReportRequest(), metadata=[("authorization", "Bearer older secret")])


async def test_an_unknown_collection_is_not_found_and_the_known_ones_are_named(one: RealFleet) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await one.running["n0"].api.Count(pb.CountRequest(collection="thing"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert NAME in (refused.value.details() or "")


async def test_a_released_claim_stops_the_fleet_and_readiness_tells(three: RealFleet) -> None:
    async with grpc.aio.insecure_channel(three.running["n0"].peer_address) as channel:
        stub = peer_pb2_grpc.PeerStub(channel)  # type: ignore[no-untyped-call]
        request = peer_pb2.ReleaseClaimRequest(collection=NAME)
        released = await stub.ReleaseClaim(request, metadata=[("authorization", "Bearer between us")])
    assert released.released

    async def stopped() -> bool:
        return all(entry.node.waiting() and not list(entry.node.reports()) for entry in three.running.values())

    await eventually(stopped, what="every node has stopped serving and has no replica left")
    assert "released" in " ".join(three.running["n1"].node.waiting())


async def test_health_and_reflection_follow_readiness_and_a_draining_node_answers_until_its_last_moment(
    one: RealFleet,
) -> None:
    entry = one.running["n0"]
    health = health_pb2_grpc.HealthStub(entry.channel)
    service = "vectorfleet.v1.VectorFleet"

    async def status() -> int:
        return int((await health.Check(health_pb2.HealthCheckRequest(service=service))).status)

    async def serving() -> bool:
        return await status() == health_pb2.HealthCheckResponse.SERVING

    await eventually(serving, what="health says SERVING")
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in reflection_pb2_grpc.ServerReflectionStub(entry.channel).ServerReflectionInfo(iter([asked])):
        names = {found.name for found in answer.list_services_response.service}
        assert {service, "grpc.health.v1.Health"} <= names
    draining = asyncio.create_task(entry.server.drain(600))

    async def told() -> bool:
        return await status() == health_pb2.HealthCheckResponse.NOT_SERVING

    await eventually(told, what="health says NOT_SERVING")
    assert entry.node.report().draining
    assert await count(entry.api) == 0
    draining.cancel()
    await entry.server.drain(0.0)
    with pytest.raises(grpc.aio.AioRpcError, match="ask another one") as refused:
        await count(entry.api)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_fleets_format_is_what_all_replicas_of_a_shard_read_and_a_silent_one_may_read_the_oldest_only(
    three: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = three.running["n0"].node

    async def known() -> bool:
        return node.fleet_format(NAME, 0) == FORMAT

    await eventually(known, what="n1 told what it reads")
    told: dict[str, peer_pb2.NodeReport | None] = {"n1": None, "n2": peer_pb2.NodeReport(storage_format=FORMAT)}
    monkeypatch.setattr(node.watch, "report", told.get)
    assert node.fleet_format(NAME, 0) == READABLE[0], "n1 is silent"
    told["n1"] = peer_pb2.NodeReport()
    assert node.fleet_format(NAME, 0) == READABLE[0], "n1 is of a version that does not tell"
    told["n1"] = peer_pb2.NodeReport(storage_format=FORMAT + 1)
    assert node.fleet_format(NAME, 0) == FORMAT, "this node reads no more than that"


async def test_a_fleet_of_one_version_writes_the_newest_format_soon(three: RealFleet) -> None:
    async def raised() -> bool:
        replicas = [entry.node.replica(NAME, 0) for name, entry in three.running.items() if name in PLACEMENT[0]]
        return all(replica._follower.state.format == FORMAT for replica in replicas)  # type: ignore[union-attr]

    await eventually(raised, what="format 2 has begun")
    await three.running["n0"].api.Upsert(upsert(KEYS))
    assert await count(three.running["n1"].api) == len(KEYS)
