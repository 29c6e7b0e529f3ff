"""A scan reads every matching row once, at one position of each shard, through whichever node is asked."""

from __future__ import annotations

import itertools
import random
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from real_fleet import DIMENSIONS, NAME, RealFleet, upsert, vectors

from vectorfleet.errors import SCAN_LOST
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.consistency import not_before
from vectorfleet_node.api.held import HeldScan, HeldScans
from vectorfleet_node.query.scan import Order
from vectorfleet_node.shard.port import Overloaded

STRONG = pb.Consistency(level=pb.Consistency.STRONG)
KEYS = [f"row-{number:03}" for number in range(200)]


async def pages(apis: list[Any], **more: Any) -> list[pb.ScanResponse]:
    """A whole scan, its calls to the nodes in turn."""
    found, cursor = [], b""
    for api in itertools.cycle(apis):
        found.append(await api.Scan(pb.ScanRequest(collection=NAME, consistency=STRONG, cursor=cursor, **more)))
        cursor = found[-1].cursor
        if not cursor:
            return found
    raise AssertionError("there is no api to ask")


def keys_of(found: list[pb.ScanResponse]) -> list[str]:
    return [key for page in found for key in page.rows.keys.strings]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    rpc_status.from_call(error).details[0].Unpack(info)
    return str(info.reason)


async def test_all_rows_come_once_with_what_was_asked_through_any_nodes(three: RealFleet) -> None:
    apis = [entry.api for entry in three.running.values()]
    await apis[0].Upsert(upsert(KEYS))
    found = await pages(apis, page_size=7, filter='lang == "en"', output_fields=["lang"], include_vectors=True)
    assert sorted(keys_of(found)) == [key for number, key in enumerate(KEYS) if number % 3 == 0]
    assert all(1 <= len(page.rows.keys.strings) <= 7 for page in found)
    assert {value for page in found for value in page.rows.fields[0].strings.values} == {"en"}
    read = {
        key: vector.tolist()
        for page in found
        for key, vector in zip(
            page.rows.keys.strings,
            np.frombuffer(page.rows.vectors[0].data, "<f4").reshape(-1, DIMENSIONS),
            strict=True,
        )
    }
    assert read == {key: vectors(200)[number].tolist() for number, key in enumerate(KEYS) if number % 3 == 0}


async def test_nothing_matches_and_the_scan_is_over_at_once(one: RealFleet) -> None:
    api = one.running["n0"].api
    await api.Upsert(upsert(KEYS))
    (page,) = await pages([api], filter='lang == "fr"')
    assert not page.rows.keys.strings
    assert set(page.session.positions) == {0, 1}
    assert len(one.running["n0"].node.scans.held) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_writes_and_flushes_between_two_pages_do_not_change_what_a_shard_shows(one: RealFleet, seed: int) -> None:
    rng = random.Random(seed)
    entry = one.running["n0"]
    alive = set(KEYS)
    await entry.api.Upsert(upsert(KEYS))
    begun: dict[int, set[str]] = {}
    got: dict[int, list[str]] = {0: [], 1: []}
    cursor = b""
    shard_of = {key: shard for shard in (0, 1) for key in KEYS if _lives(one, shard, key)}
    while True:
        page = await entry.api.Scan(
            pb.ScanRequest(collection=NAME, consistency=STRONG, cursor=cursor, page_size=rng.randint(5, 30))
        )
        for key in page.rows.keys.strings:
            shard = shard_of[key]
            if shard not in begun:
                begun[shard] = {other for other in alive if shard_of[other] == shard}
            got[shard].append(key)
        cursor = page.cursor
        if not cursor:
            break
        changed = rng.sample(KEYS, 20)
        if rng.random() < 0.5:
            alive -= set(changed)
            await entry.api.Delete(pb.DeleteRequest(collection=NAME, keys=pb.Keys(strings=changed)))
        else:
            alive |= set(changed)
            await entry.api.Upsert(upsert(changed, seed=rng.randint(1, 99)))
        if rng.random() < 0.3:
            for shard in (0, 1):
                replica = entry.node.replica(NAME, shard)
                assert replica is not None
                await replica.flush()
    for shard in (0, 1):
        assert got[shard] == sorted(begun[shard]), f"seed {seed}"


def _lives(fleet: RealFleet, shard: int, key: str) -> bool:
    replica = fleet.running["n0"].node.replica(NAME, shard)
    assert replica is not None
    return replica.view().locate([key]) != [None]


async def test_a_view_that_is_gone_ends_the_scan_unless_it_may_go_on_at_a_newer_position(three: RealFleet) -> None:
    apis = [entry.api for entry in three.running.values()]
    await apis[0].Upsert(upsert(KEYS))
    first = await apis[0].Scan(pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=10))
    for entry in three.running.values():
        entry.node.scans.held.forget(NAME)  # as after a restart
    again = pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=200, cursor=first.cursor)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await apis[1].Scan(again)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(caught.value) == SCAN_LOST
    last = first.rows.keys.strings[-1]
    await apis[2].Upsert(upsert([f"{last}-and-later", "a-before-all"], seed=5))
    again.resume = True
    second = await apis[1].Scan(again)
    assert second.resumed
    rest = list(second.rows.keys.strings)
    assert rest == sorted(rest)
    assert min(rest) > last
    assert max(second.session.positions.values()) >= max(first.session.positions.values())


async def test_a_dead_node_is_waited_for_or_with_resume_left_behind(three: RealFleet) -> None:
    apis = {name: entry.api for name, entry in three.running.items()}
    await apis["n2"].Upsert(upsert(KEYS))
    first = await apis["n0"].Scan(pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=10))
    await three.running["n0"].kill()  # which held the view of shard 0
    again = pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=10, cursor=first.cursor)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await apis["n2"].Scan(again, timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    again.resume = True
    second = await apis["n2"].Scan(again, timeout=20)
    assert second.resumed
    rest = [second, *await _rest(apis["n2"], second.cursor)]
    assert sorted([*first.rows.keys.strings, *keys_of(rest)]) == KEYS


async def _rest(api: Any, cursor: bytes) -> list[pb.ScanResponse]:
    found = []
    while cursor:
        found.append(
            await api.Scan(pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=50, cursor=cursor), timeout=20)
        )
        cursor = found[-1].cursor
    return found


async def test_the_last_page_can_be_asked_for_again_and_a_closed_scan_is_let_go(one: RealFleet) -> None:
    entry = one.running["n0"]
    await entry.api.Upsert(upsert(KEYS))
    request = pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=60)
    cursors = []
    while True:
        response = await entry.api.Scan(request)
        again = await entry.api.Scan(request) if request.cursor else response
        assert again.rows == response.rows
        if not response.cursor:
            break
        request.cursor = response.cursor
        cursors.append(response.cursor)
    first = await entry.api.Scan(pb.ScanRequest(collection=NAME, consistency=STRONG, page_size=60))
    held = len(entry.node.scans.held)
    await entry.api.Scan(pb.ScanRequest(collection=NAME, cursor=first.cursor, close=True))
    assert len(entry.node.scans.held) == held - 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"page_size": 16385}, "page_size"),
        ({"cursor": b"\xff\xff"}, "cursor"),
        ({"filter": "nope == 1"}, "filter"),
        ({"output_fields": ["nope"]}, "output_fields"),
    ],
)
async def test_what_cannot_be_scanned_is_named(one: RealFleet, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=field) as caught:
        await one.running["n0"].api.Scan(pb.ScanRequest(collection=NAME, **wrong))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_cursor_is_refused_with_another_filter(one: RealFleet) -> None:
    api = one.running["n0"].api
    await api.Upsert(upsert(KEYS))
    first = await api.Scan(pb.ScanRequest(collection=NAME, page_size=5))
    with pytest.raises(grpc.aio.AioRpcError, match="the cursor is of a scan with ''"):
        await api.Scan(pb.ScanRequest(collection=NAME, page_size=5, cursor=first.cursor, filter='lang == "en"'))


def test_held_scans_are_limited_in_number_and_by_the_time_that_nobody_asks() -> None:
    now = 0.0
    names = (f"scan-{number}" for number in itertools.count())
    held = HeldScans(lambda: next(names), lambda: now, limit=2, idle=10)
    scan: Any = HeldScan(NAME, 1, None, None, Order(np.empty(0, np.int32), np.empty(0, np.int32)))  # type: ignore[arg-type]
    first, second = held.hold(scan), held.hold(scan)
    with pytest.raises(Overloaded, match="2 scans"):
        held.hold(scan)
    now = 8.0
    assert held.find(second, NAME, 1) is scan
    assert held.find(second, NAME, 0) is None
    now = 11.0
    assert held.find(first, NAME, 1) is None  # 11 s idle
    assert held.find(second, NAME, 1) is scan  # 3 s idle
    third = held.hold(scan)
    held.ended(third)
    assert held.find(third, NAME, 1) is scan  # its last reply may be lost
    held.hold(scan)  # an ended scan takes no room
    held.forget(NAME)
    assert len(held) == 0


def test_a_read_that_goes_on_asks_for_what_was_seen_and_for_no_token_that_nobody_checked() -> None:
    token = pb.SessionToken(uid="uid", positions={0: 9, 1: 3})
    for level in (pb.Consistency.BOUNDED, pb.Consistency.EVENTUAL):
        asked = pb.Consistency(level=level, session=pb.SessionToken(uid="another", positions={0: 99}))
        found = not_before(asked, "uid", {0: 5})
        assert found == pb.Consistency(
            level=pb.Consistency.SESSION, session=pb.SessionToken(uid="uid", positions={0: 5})
        )
    session = pb.Consistency(level=pb.Consistency.SESSION, session=token)
    assert dict(not_before(session, "uid", {0: 5, 1: 7}).session.positions) == {0: 9, 1: 7}
    assert not_before(STRONG, "uid", {0: 5}) == STRONG
