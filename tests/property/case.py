"""One case: a random shard, a random sequence of operations on it, and after each search a comparison with the oracle.

Everything is drawn from one seed. The trap is what runs beside: a compaction is held back in the middle while rows are
written, deleted, flushed and searched for; and views that were taken earlier have to answer as they did then.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from vectorfleet.schema import IndexType, KeyType, Metric
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.scan import matching_keys
from vectorfleet_node.shard.compaction import FAN_IN
from vectorfleet_node.shard.port import DeletePart, NotLeader, Part, SelectPart
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.view import ShardView

from .checks import Question, check_all, check_count, check_get, check_search
from .filters import LANGS, PRICES, YEARS, RandomFilter, random_filter
from .oracle import Key, Oracle, Row
from .shard import HoldingStore, in_pieces, make_replica, new_shard, schema, upsert_part

_STEPS: Final = 24
_KEPT_VIEWS: Final = 3
_LATTICE: Final = (-2.0, -1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 2.0)  # few values: many equal scores
INDEXES: Final = (IndexType.EXACT, IndexType.AUTO, IndexType.HNSW, IndexType.PQ)


class Case:
    """show: told what happens, line by line."""

    def __init__(self, seed: int, folder: Path, show: Callable[[str], None]) -> None:
        self.seen: Counter[str] = Counter()
        self._seed = seed
        self._folder = folder
        self._show = show
        self._source = source = random.Random(seed)
        self._metric = source.choice(list(Metric))
        self._index = source.choice(INDEXES)
        self._dimensions = source.randint(2, 9)
        self._key_type = source.choice(list(KeyType))
        self._schema = schema(self._metric, self._key_type, self._index, self._dimensions)
        size = source.choices([6, 20, 60, 400, 1500], [20, 40, 30, 8, 2])[0]
        numbers = range(-2, size - 2)
        self._keys: list[Key] = [f"k{n}é" if self._key_type is KeyType.STRING else n for n in numbers]
        self._vectors = [self._vector() for _ in range(source.choice([1, 3, 8, size]))]
        self._oracle = Oracle(self._metric)
        self._kept: list[tuple[ShardView, Oracle]] = []
        self._store = HoldingStore()
        self._running: asyncio.Task[None] | None = None  # a compaction
        self._replicas = 0
        self._requests = 0
        self._leader = self._replica(fresh_cache=True)

    async def run(self) -> None:
        """AssertionError when an answer is wrong; else `seen` tells how often what happened."""
        self._show(f"{self._metric} {self._index} {self._key_type} keys, {self._dimensions} dimensions")
        await new_shard(self._store)
        await self._leader.start()
        try:
            await self._leader.take_over()
            for _ in range(_STEPS):
                await self._step(self._anything())
            self._show("at the end")
            check_all(self._leader.view(), self._schema, self._oracle, self._source)
        finally:
            self._store.release()
            await self._leader.stop()

    def _anything(self) -> Callable[[], Awaitable[None]]:
        rest = {self._flush: 12, self._compact: 5, self._succeed: 2, self._follow: 2}
        return self._drawn(self._beside() | rest)

    def _beside(self) -> dict[Callable[[], Awaitable[None]], int]:
        """What may happen while a manifest is being published."""
        return {
            self._upsert: 24,
            self._import: 8,
            self._delete: 8,
            self._delete_matching: 2,
            self._search: 36,
            self._read: 4,
            self._keep: 4,
        }

    def _drawn(self, weights: dict[Callable[[], Awaitable[None]], int]) -> Callable[[], Awaitable[None]]:
        return self._source.choices(list(weights), list(weights.values()))[0]

    async def _step(self, operation: Callable[[], Awaitable[None]]) -> None:
        self.seen[operation.__name__.strip("_").replace("_", " ")] += 1
        await operation()

    async def _upsert(self) -> None:
        count = self._source.choice([1, 2, 5, len(self._keys)])
        await self._put(self._source.sample(self._keys, k=min(count, len(self._keys))))

    async def _import(self) -> None:
        """Rows that become a segment of their own; often more than an upsert has."""
        count = self._source.choice([1, 5, len(self._keys), len(self._keys)])
        rows = {key: self._row(key) for key in self._source.sample(self._keys, k=min(count, len(self._keys)))}
        self._show(f"import {len(rows)} rows: {list(rows)[:8]}")
        self._requests += 1
        await self._leader.import_rows(f"r{self._requests}", 1 << 40, in_pieces(upsert_part(self._schema, rows)))
        self._oracle.rows |= rows

    async def _put(self, keys: list[Key]) -> None:
        rows = {key: self._row(key) for key in keys}
        self._show(f"upsert {len(rows)} rows: {list(rows)[:8]}")
        await self._append(upsert_part(self._schema, rows))
        self._oracle.rows |= rows

    async def _delete(self) -> None:
        keys = self._source.sample(self._keys, k=self._source.choice([1, 1, 4, len(self._keys) // 2]))
        self._show(f"delete {len(keys)} keys: {keys[:8]}")
        await self._append(DeletePart(tuple(keys)))
        for key in keys:
            self._oracle.rows.pop(key, None)

    async def _delete_matching(self) -> None:
        wanted = random_filter(self._source, self._keys, 1)
        self._show(f"delete where {wanted.text}")
        compiled = compile_filter(wanted.text, self._schema)
        await self._append(SelectPart(lambda view, limit: matching_keys(view, compiled, limit)))
        for key in list(self._oracle.passing(wanted)):
            self._oracle.rows.pop(key)

    async def _flush(self) -> None:
        self._show("flush")
        await self._leader.flush()

    async def _search(self) -> None:
        view, oracle = self._leader.view(), self._oracle
        if self._kept and self._source.random() < 0.25:
            view, oracle = self._source.choice(self._kept)
        question = self._question()
        filter_ = question.filter.text if question.filter else ""
        self._show(
            f"search {len(view.blocks)} blocks at {view.position}: k={question.k} filter={filter_!r} "
            f"exact={question.exact} ef={question.ef} target_recall={question.target_recall} "
            f"min_score={question.min_score} {question.queries.tolist()}"
        )
        self.seen += check_search(view, self._schema, oracle, question)

    async def _read(self) -> None:
        keys = self._source.sample(self._keys, k=self._source.randint(1, len(self._keys)))
        filter_ = self._filter()
        self._show(f"get {len(keys)} keys, count where {filter_.text if filter_ else 'true'}")
        check_get(self._leader.view(), self._schema, self._oracle, keys)
        check_count(self._leader.view(), self._schema, self._oracle, filter_)

    async def _keep(self) -> None:
        self._show("keep a view")
        self._kept = [*self._kept, (self._leader.view(), self._oracle.copy())][-_KEPT_VIEWS:]

    async def _compact(self) -> None:
        """Sometimes held back: before its files are in the store, or before a manifest names them."""
        size = self._source.choice([1, 3, len(self._keys) // 4])
        for _ in range(self._source.choice([0, FAN_IN])):
            await self._put(self._source.sample(self._keys, k=size))
            await self._leader.flush()
        where = self._source.choice(["", ".vectors", ".vectors", "manifests/"])
        self._show(f"compact{', held at ' + where if where else ''}")
        if where:
            await self._leader.flush()  # or what is held may be a flush
            self._store.hold(where)
        self._running = running = asyncio.create_task(self._leader.compact())
        held = asyncio.create_task(self._store.held.wait())
        await asyncio.wait([running, *([held] if where else [])], return_when=asyncio.FIRST_COMPLETED)
        if where and not running.done():
            self.seen["held"] += 1
            beside = self._beside() | ({self._flush: 8} if where == ".vectors" else {})
            for _ in range(self._source.randint(2, 8)):
                await self._step(self._drawn(beside))
            if self._source.random() < 0.2:
                self.seen["taken over while held"] += 1
                await self._succeed()
        held.cancel()
        await self._settle()
        check_all(self._leader.view(), self._schema, self._oracle, self._source)

    async def _settle(self) -> None:
        """Lets a compaction end that is held, if there is one."""
        self._store.release()
        running, self._running = self._running, None
        if running is not None:
            with suppress(NotLeader):
                await running

    async def _succeed(self) -> None:
        """Another replica takes over from the running leader, or it ends and opens its own files again."""
        before, reopen = self._leader, self._source.random() < 0.5
        self._show("reopen" if reopen else "take over")
        if reopen:
            await before.stop()
            await self._settle()
        self._leader = self._replica(fresh_cache=not reopen)
        await self._leader.start()
        await self._leader.take_over()
        if not reopen:
            await before.stop()
            await self._settle()
            self._kept.clear()
        check_all(self._leader.view(), self._schema, self._oracle, self._source)

    async def _follow(self) -> None:
        """A follower that has just started answers a strong read as the leader does."""
        self._show("a follower reads")
        follower = make_replica(self._store, self._schema, self._folder / self._name("f"), self._name("f"))
        await follower.start()
        try:
            await follower.make_strong()
            self.seen += check_search(follower.view(), self._schema, self._oracle, self._question())
            check_all(follower.view(), self._schema, self._oracle, self._source)
        finally:
            await follower.stop()

    async def _append(self, part: Part) -> None:
        self._requests += 1
        await self._leader.append(f"request-{self._requests}", 1 << 40, part)

    def _question(self) -> Question:
        source = self._source
        exact = source.random() < 0.3
        queries = [self._vector() for _ in range(source.choice([1, 1, 2, 5]))]
        target_recall = source.choice([0.5, 0.99, 1.0]) if source.random() < 0.2 and not exact else None
        approximate = self._index in (IndexType.HNSW, IndexType.PQ) and not exact and target_recall != 1.0
        min_score = source.choice([-4.0, -1.0, 0.0, 0.5, 1.0]) if source.random() < 0.15 and not approximate else None
        return Question(
            queries=np.array(queries, np.float32),
            k=source.choice([1, 2, 3, 5, 10, 10, 50, 200, 16_384]),
            filter=self._filter(),
            exact=exact,
            ef=source.choice([0, 0, 16, 64]) if target_recall is None else 0,
            target_recall=target_recall,
            min_score=min_score,
            approximate=approximate,
        )

    def _filter(self) -> RandomFilter | None:
        return random_filter(self._source, self._keys) if self._source.random() < 0.5 else None

    def _row(self, key: Key) -> Row:
        source = self._source
        vector = source.choice(self._vectors) if source.random() < 0.7 else self._vector()
        fields = {
            "key": key,
            "lang": source.choice([*LANGS, None]),
            "year": source.choice([*YEARS, None]),
            "price": source.choice([*PRICES, None]),
            "open": source.choice([True, False, None]),
        }
        return Row(vector, fields)

    def _vector(self) -> tuple[float, ...]:
        """Not zero, which has no direction. Sometimes with more digits, still few."""
        while True:
            fine = self._source.random() < 0.2
            values = [
                self._source.randint(-64, 64) / 32 if fine else self._source.choice(_LATTICE)
                for _ in range(self._dimensions)
            ]
            if any(values):
                return tuple(values)

    def _replica(self, fresh_cache: bool) -> ShardReplica:
        if fresh_cache:
            self._cache = self._folder / self._name("cache")
        return make_replica(self._store, self._schema, self._cache, self._name("r"))

    def _name(self, kind: str) -> str:
        self._replicas += 1
        return f"{kind}{self._replicas}-{self._seed}"
