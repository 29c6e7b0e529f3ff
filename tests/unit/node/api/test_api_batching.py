"""The queue in front of the engine's threads: who is joined, who is refused, who never reaches the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from real_fleet import NAME, RealFleet, eventually, search, upsert, vectors

from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.admission import Admission, SearchObserver
from vectorfleet_node.api.batching import MOST_QUERIES, Batcher
from vectorfleet_node.api.errors import details_of
from vectorfleet_node.api.searches import ShardsSearch, key_of, run_batch
from vectorfleet_node.query.search import Abandoned
from vectorfleet_node.query.validate import search_spec
from vectorfleet_node.shard.port import Overloaded, Replica

LONG = 60.0


class Engine:
    """An engine whose calls wait until they are let go; it answers each search with its name in upper case."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gone: list[Callable[[], bool]] = []
        self.permits = threading.Semaphore(0)
        self.began = threading.Semaphore(0)

    def run(self, searches: list[str], gone: Callable[[], bool]) -> list[str]:
        self.calls.append(searches)
        self.gone.append(gone)
        self.began.release()
        assert self.permits.acquire(timeout=LONG)
        if "bad" in searches:
            raise ValueError("bad")
        return [name.upper() for name in searches]


class Bench:
    """One engine thread behind a batcher, a clock to turn, and everything that was observed."""

    def __init__(self, pool: ThreadPoolExecutor, most: int = 100) -> None:
        self.now = 0.0
        self.shed: list[str] = []
        self.started: list[int] = []
        self.engine = Engine()
        observer = SearchObserver(self.shed.append, lambda queries, _: self.started.append(queries))
        self.admission = Admission(1, observer, most)
        self.batcher: Batcher[str, str] = Batcher(pool, self.engine.run, self.admission, lambda: self.now)

    def ask(self, name: str, key: Hashable = "k", queries: int = 1, seconds: float = LONG) -> asyncio.Task[str]:
        return asyncio.create_task(self.batcher.search(key, name, queries, seconds))

    async def busy(self) -> asyncio.Task[str]:
        """Occupies the thread."""
        task = self.ask("first", key="other")
        assert await asyncio.to_thread(self.engine.began.acquire, timeout=LONG)
        return task

    async def queued(self, count: int) -> None:
        async def check() -> bool:
            return self.admission.waiting == count

        await eventually(check, what=f"{count} searches wait")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with ThreadPoolExecutor(1) as pool:
        made = Bench(pool)
        yield made
        made.engine.permits.release(1000)


async def test_a_search_goes_to_a_free_thread_at_once_and_alone(bench: Bench) -> None:
    bench.engine.permits.release()
    assert await bench.ask("a") == "A"
    assert bench.engine.calls == [["a"]]


async def test_searches_that_wait_with_one_key_become_one_call_and_each_gets_its_own_answer(bench: Bench) -> None:
    first = await bench.busy()
    waiting = [bench.ask("a"), bench.ask("x", key="another"), bench.ask("b"), bench.ask("c")]
    await bench.queued(4)
    bench.engine.permits.release(3)
    assert await asyncio.gather(first, *waiting) == ["FIRST", "A", "X", "B", "C"]
    assert bench.engine.calls == [["first"], ["a", "b", "c"], ["x"]]
    assert bench.started == [1, 3, 1]


async def test_a_batch_has_no_more_than_so_many_queries(bench: Bench) -> None:
    first = await bench.busy()
    waiting = [bench.ask(name, queries=MOST_QUERIES // 2) for name in ("a", "b", "c")]
    await bench.queued(3)
    bench.engine.permits.release(3)
    await asyncio.gather(first, *waiting)
    assert bench.engine.calls[1:] == [["a", "b"], ["c"]]


async def test_a_failure_is_told_to_the_members_of_its_batch_and_to_nobody_else(bench: Bench) -> None:
    first = await bench.busy()
    waiting = [bench.ask("a"), bench.ask("bad"), bench.ask("x", key="another")]
    await bench.queued(3)
    bench.engine.permits.release(3)
    found = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(each) for each in found] == [str, ValueError, ValueError, str]


async def test_a_search_that_is_cancelled_while_it_waits_never_reaches_the_engine(bench: Bench) -> None:
    first = await bench.busy()
    waiting = [bench.ask("a"), bench.ask("b")]
    await bench.queued(2)
    waiting[0].cancel()
    await bench.queued(1)
    bench.engine.permits.release(2)
    assert [await first, await waiting[1]] == ["FIRST", "B"]
    assert bench.engine.calls == [["first"], ["b"]]


async def test_a_search_past_its_deadline_is_refused_without_the_engine(bench: Bench) -> None:
    first = await bench.busy()
    late = bench.ask("late", seconds=5.0)
    await bench.queued(1)
    bench.now = 6.0
    bench.engine.permits.release(1)
    with pytest.raises(Overloaded, match=r"waited 6\.00 s"):
        await late
    assert await first == "FIRST"
    assert bench.engine.calls == [["first"]]
    assert bench.shed == ["expired"]


async def test_an_engine_call_is_told_when_the_last_of_its_callers_has_gone(bench: Bench) -> None:
    first = await bench.busy()
    assert not bench.engine.gone[0]()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert bench.engine.gone[0]()


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    shed: list[str] = []
    admission = Admission(1, SearchObserver(shed.append), most=2)
    admission.enter(1, LONG)
    admission.enter(1, LONG)
    with pytest.raises(Overloaded, match="2 searches wait") as refused:
        admission.enter(1, LONG)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > 0
    assert shed == ["full"]
    admission.leave(1)
    admission.enter(1, LONG)


def test_who_cannot_be_served_before_the_deadline_is_refused_at_once() -> None:
    shed: list[str] = []
    admission = Admission(2, SearchObserver(shed.append))
    admission.served(10, 10.0)  # a second each
    for _ in range(4):
        admission.enter(1, LONG)
    assert admission.expected_wait == 2.0  # four on two threads
    with pytest.raises(Overloaded, match=r"about 2\.00 s; this one has 2\.50 s left") as refused:
        admission.enter(1, 2.5)
    assert refused.value.retry_after == 2.0
    assert shed == ["late"]
    admission.enter(1, 3.5)


def test_with_nobody_waiting_every_search_is_tried() -> None:
    admission = Admission(1)
    admission.served(1, 100.0)
    admission.enter(1, 0.001)


async def test_a_batch_of_searches_is_answered_as_each_alone(one: RealFleet) -> None:
    entry = one.running["n0"]
    await entry.api.Upsert(upsert([f"k{number}" for number in range(200)]))
    views = {shard: _replica(one, shard).view() for shard in (0, 1)}
    specs = [
        search_spec(one.schema, vector="", queries=vectors(count, seed), k=5, output_fields=["lang"])
        for seed, count in enumerate((1, 3, 2))
    ]
    searches = [ShardsSearch(views, spec) for spec in specs]
    assert len({key_of(each) for each in searches}) == 1
    together = run_batch(searches, lambda: False)
    alone = [run_batch([each], lambda: False)[0] for each in searches]
    assert together == alone
    assert [len(found.results) for found in together] == [1, 3, 2]


async def test_searches_that_differ_in_anything_but_their_queries_are_not_joined(one: RealFleet) -> None:
    views = {shard: _replica(one, shard).view() for shard in (0, 1)}
    asked = [
        {"k": 5},
        {"k": 6},
        {"k": 5, "exact": True},
        {"k": 5, "ef": 100},
        {"k": 5, "min_score": 0.5},
        {"k": 5, "filter_text": "lang == 'en'"},
        {"k": 5, "output_fields": ["lang"]},
        {"k": 5, "include_vectors": True},
    ]
    query = vectors(1)
    specs = [search_spec(one.schema, vector="", queries=query, **each) for each in asked]  # type: ignore[arg-type]
    keys = [key_of(ShardsSearch(views, spec)) for spec in specs]
    keys.append(key_of(ShardsSearch({0: views[0]}, specs[0])))
    assert len(set(keys)) == len(keys)


async def test_nothing_more_is_searched_for_callers_who_have_gone(one: RealFleet) -> None:
    views = {shard: _replica(one, shard).view() for shard in (0, 1)}
    search_ = ShardsSearch(views, search_spec(one.schema, vector="", queries=vectors(1), k=5))
    with pytest.raises(Abandoned):
        run_batch([search_], lambda: True)


async def test_a_client_that_gives_up_takes_its_search_out_of_a_peers_queue(
    three: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # n0 holds shard 0 only, so shard 1 is asked of n1 or n2, whose queues do not move.
    nodes = [three.running[name].node for name in ("n0", "n1", "n2")]
    stuck = [node.admission for node in nodes]
    for node in nodes:
        monkeypatch.setattr(node.local._queue, "_running", node.admission.threads)
    call = three.running["n0"].api.Search(search(np.ones(4), level=pb.Consistency.EVENTUAL))

    async def all_wait() -> bool:
        return sum(admission.waiting for admission in stuck) == 2

    await eventually(all_wait, what="both shards' searches wait")
    call.cancel()

    async def nobody_waits() -> bool:
        return not any(admission.waiting for admission in stuck)

    await eventually(nobody_waits, what="the queues are empty again")


@pytest.mark.parametrize("read", ["Search", "group-by", "Get", "Count"])
async def test_a_full_queue_is_answered_with_the_time_to_come_back(
    one: RealFleet, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    api = one.running["n0"].api
    grouped = search(np.ones(4))
    grouped.group_by.field = "lang"
    calls = {
        "Search": lambda: api.Search(search(np.ones(4))),
        "group-by": lambda: api.Search(grouped),
        "Get": lambda: api.Get(pb.GetRequest(collection=NAME, keys=pb.Keys(strings=["a"]))),
        "Count": lambda: api.Count(pb.CountRequest(collection=NAME)),
    }
    monkeypatch.setattr(one.running["n0"].node.admission, "_most", 0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await calls[read]()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = details_of(refused.value)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMilliseconds() > 0


def _replica(fleet: RealFleet, shard: int) -> Replica:
    replica = fleet.running["n0"].node.replica(NAME, shard)
    assert replica is not None
    return replica
