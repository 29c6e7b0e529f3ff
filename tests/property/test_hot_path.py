"""What a search costs on the hot path, counted and not timed: red when a change adds a quarter of the calls or memory.

Counts of Python functions, of C functions called by them, and of bytes at the peak do not depend on the machine's mood.
When a search does more on purpose, raise the budget in the same commit; when it does less, lower it.
"""

from __future__ import annotations

import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import pytest

from vectorfleet.schema import IndexType, KeyType, Metric
from vectorfleet_node.query.search import search_shard
from vectorfleet_node.query.validate import search_spec
from vectorfleet_node.shard.view import ShardView

from .filters import LANGS, YEARS
from .oracle import Row
from .shard import HoldingStore, make_replica, new_shard, schema, upsert_part

_HEADROOM: Final = 1.25
_SCHEMA: Final = schema(Metric.COSINE, KeyType.STRING, IndexType.EXACT, 16)
_SEGMENTS: Final = 3
_ROWS: Final = 400  # of each segment, and as many growing


@dataclass(frozen=True)
class Budget:
    """As measured. python, c: calls of functions. kilobytes: allocated at once, at most."""

    python: int
    c: int
    kilobytes: int


_SCENARIOS: Final = {
    "one query": (1, "", (), Budget(330, 320, 17)),
    "sixteen queries": (16, "", (), Budget(570, 800, 115)),
    "a filter and fields": (1, 'lang == "en" and year >= 0', ("lang", "year"), Budget(510, 460, 15)),
}


@pytest.mark.parametrize("name", _SCENARIOS)
async def test_a_search_stays_within_its_budget(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queries, filter_text, fields, budget = _SCENARIOS[name]
    store = HoldingStore()
    await new_shard(store)
    replica = make_replica(store, _SCHEMA, tmp_path, "a")
    await replica.start()
    try:
        await replica.take_over()
        for step in range(_SEGMENTS + 1):
            await replica.append(f"r{step}", 1 << 40, upsert_part(_SCHEMA, _rows(step)))
            if step < _SEGMENTS:
                await replica.flush()
        found = _measured(_search(replica.view(), queries, filter_text, fields))
    finally:
        await replica.stop()
    with capsys.disabled():
        print(f"\n{name}: {found}")
    assert found.python <= _HEADROOM * budget.python, f"{found} against {budget}"
    assert found.c <= _HEADROOM * budget.c, f"{found} against {budget}"
    assert found.kilobytes <= _HEADROOM * budget.kilobytes, f"{found} against {budget}"


def _rows(step: int) -> dict[Any, Row]:
    source = random.Random(step)
    rows = {}
    for number in range(_ROWS):
        key = f"{step}-{number}"
        fields = {"lang": source.choice(LANGS), "year": source.choice(YEARS), "price": None, "open": None}
        rows[key] = Row(tuple(source.gauss(0, 1) for _ in range(16)), fields)
    return rows


def _search(view: ShardView, queries: int, filter_text: str, fields: tuple[str, ...]) -> Callable[[], object]:
    vectors = np.random.default_rng(1).standard_normal((queries, 16)).astype(np.float32)

    def search() -> object:
        spec = search_spec(_SCHEMA, vector="", queries=vectors, k=10, filter_text=filter_text, output_fields=fields)
        return search_shard(view, spec)

    return search


def _measured(action: Callable[[], object]) -> Budget:
    for _ in range(3):  # imports, compiled filters and what an index makes at its first search are not the hot path
        action()
    calls: Counter[str] = Counter()

    def count(_frame: FrameType, event: str, _what: object) -> None:
        calls[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    tracemalloc.start()
    try:
        action()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return Budget(calls["call"], calls["c_call"], peak // 1000)
