"""Group-by and range search through any node find what sorting all rows finds, however rows lie in shards."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from real_fleet import DIMENSIONS, NAME, RealFleet, schema, search, vectors

from vectorfleet import columns
from vectorfleet.schema import IndexType, VectorSchema
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import observe

Row = tuple[np.ndarray[Any, np.dtype[np.float32]], str | None]


def upsert_rows(rows: dict[str, Row]) -> pb.UpsertRequest:
    table = np.array([vector for vector, _ in rows.values()], "<f4")
    field = columns.pack_field("lang", [lang for _, lang in rows.values()])
    return pb.UpsertRequest(
        collection=NAME,
        rows=pb.Rows(
            keys=pb.Keys(strings=list(rows)),
            vectors=[pb.VectorColumn(dimensions=DIMENSIONS, data=table.tobytes())],
            fields=[field] if field else [],
        ),
    )


def ranked(rows: dict[str, Row], query: Any) -> list[tuple[str, str | None]]:
    """Keys and groups, the most similar row first."""

    def similarity(key: str) -> float:
        vector = rows[key][0].astype(np.float64)
        return float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))

    return [(key, rows[key][1]) for key in sorted(rows, key=lambda key: (-similarity(key), key))]


def expected(rows: dict[str, Row], query: Any, k: int, size: int) -> list[tuple[str | None, list[str]]]:
    groups: dict[str | None, list[str]] = {}
    for key, lang in ranked(rows, query):
        groups.setdefault(lang, []).append(key)
    return [(lang, keys[:size]) for lang, keys in list(groups.items())[:k]]


def plain(hits: pb.Hits) -> list[tuple[str | None, list[str]]]:
    (values,) = columns.unpack_fields([hits.groups], len(hits.group_sizes)).values()
    keys, found, start = list(hits.rows.keys.strings), [], 0
    for value, size in zip(values, hits.group_sizes, strict=True):
        found.append((value, keys[start : start + size]))
        start += size
    assert start == len(keys) == len(hits.scores)
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_groups_are_those_of_all_rows_while_rows_are_written_and_deleted(three: RealFleet, seed: int) -> None:
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    apis = [entry.api for entry in three.running.values()]
    rows: dict[str, Row] = {}
    for turn in range(12):
        changed = {
            f"row-{rng.randrange(150)}": (
                numbers.standard_normal(DIMENSIONS).astype(np.float32),
                None if rng.random() < 0.1 else f"lang-{rng.randrange(25)}",
            )
            for _ in range(30)
        }
        rows |= changed
        await rng.choice(apis).Upsert(upsert_rows(changed))
        gone = rng.sample(sorted(rows), 5)
        rows = {key: row for key, row in rows.items() if key not in gone}
        await rng.choice(apis).Delete(pb.DeleteRequest(collection=NAME, keys=pb.Keys(strings=gone)))
        queries = numbers.standard_normal((2, DIMENSIONS)).astype(np.float32)
        k, size = rng.randint(1, 12), rng.randint(1, 5)
        more: dict[str, Any] = {"group_by": pb.GroupBy(field="lang", size=size), "output_fields": ["lang"]}
        found = await rng.choice(apis).Search(search(queries, k=k, **more))
        wanted = [expected(rows, query, k, size) for query in queries]
        assert [plain(hits) for hits in found.results] == wanted, f"seed {seed}, turn {turn}"
        langs = columns.unpack_fields(found.results[0].rows.fields, len(found.results[0].scores))["lang"]
        assert langs == [lang for lang, keys in wanted[0] for _ in keys]
        assert set(found.session.positions) == {0, 1}


async def test_a_threshold_counts_over_all_shards_and_all_of_k_are_the_best(three: RealFleet) -> None:
    rows: dict[str, Row] = {f"row-{number}": (vector, "en") for number, vector in enumerate(vectors(80))}
    await three.running["n1"].api.Upsert(upsert_rows(rows))
    query = vectors(1, seed=9)[0]
    order = [key for key, _ in ranked(rows, query)]
    for entry in three.running.values():
        everything = await entry.api.Search(search(query, k=80))
        bar = everything.results[0].scores[20]
        for k in (5, 21, 80):
            found = await entry.api.Search(search(query, k=k, min_score=bar))
            assert list(found.results[0].rows.keys.strings) == order[: min(k, 21)]
        grouped = await entry.api.Search(search(query, k=5, min_score=bar, group_by=pb.GroupBy(field="lang", size=100)))
        assert plain(grouped.results[0]) == [("en", order[:21])]


async def test_no_rows_no_groups_and_what_is_wrong_is_named(one: RealFleet) -> None:
    api = one.running["n0"].api
    found = await api.Search(search(vectors(2), group_by=pb.GroupBy(field="lang")))
    assert [plain(hits) for hits in found.results] == [[], []]
    for wrong, field in (
        ({"group_by": pb.GroupBy(field="nope")}, "group_by.field"),
        ({"group_by": pb.GroupBy(field="lang", size=20_000)}, "group_by.size"),
        ({"min_score": float("nan")}, "min_score"),
        ({"k": 16_385}, "k: k is 16385"),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=field) as caught:
            await api.Search(search(vectors(1), **wrong))  # type: ignore[arg-type]
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_thousand_queries_are_answered_and_more_hits_than_fit_are_refused_before_the_work(
    three: RealFleet,
) -> None:
    rows: dict[str, Row] = {f"row-{number}": (vector, "en") for number, vector in enumerate(vectors(300))}
    api = three.running["n0"].api
    await api.Upsert(upsert_rows(rows))
    found = await api.Search(search(vectors(1000, seed=3), k=100), timeout=60)
    assert [len(hits.scores) for hits in found.results] == [100] * 1000
    (best,) = (await api.Search(search(vectors(1), k=16_384), timeout=60)).results
    assert len(best.scores) == 300
    with pytest.raises(grpc.aio.AioRpcError, match="1000 queries of 16384 hits are 16384000 hits") as caught:
        await api.Search(search(vectors(1000), k=16_384))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_answer_that_is_too_big_for_a_message_is_refused_in_words(
    three: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, Row] = {f"row-{number}": (vector, "x" * 1000) for number, vector in enumerate(vectors(40))}
    await three.running["n0"].api.Upsert(upsert_rows(rows))
    monkeypatch.setattr(observe, "sendable", partial(observe.sendable, limit=10_000))
    for entry in three.running.values():
        with pytest.raises(grpc.aio.AioRpcError, match=r"the answer has \d+ bytes, of 10000 allowed") as caught:
            await entry.api.Search(search(vectors(1), k=40, output_fields=["lang"]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert len((await entry.api.Search(search(vectors(1), k=40))).results[0].scores) == 40


async def test_how_hard_to_look_is_the_callers_choice(tmp_path: Path) -> None:
    graph = VectorSchema(name="default", dimensions=DIMENSIONS, index=IndexType.HNSW)
    fleet = RealFleet(tmp_path, schema(shards=1).model_copy(update={"vectors": (graph,)}))
    try:
        await fleet.add("n0")
        await fleet.place({0: ("n0",)})
        await fleet.ready()
        entry = fleet.running["n0"]
        rows: dict[str, Row] = {f"row-{number}": (vector, "en") for number, vector in enumerate(vectors(900))}
        await entry.api.Upsert(upsert_rows(rows))
        replica = entry.node.replica(NAME, 0)
        assert replica is not None
        await replica.flush()
        queries = vectors(20, seed=4)
        right = [{key for key, _ in ranked(rows, query)[:10]} for query in queries]

        async def recall(**params: Any) -> float:
            found = await entry.api.Search(search(queries, k=10, params=pb.SearchParams(**params)))
            assert list(found.indexes) == ["HNSW"]
            hits = zip(found.results, right, strict=True)
            return sum(len(wanted & set(result.rows.keys.strings)) for result, wanted in hits) / 200

        assert await recall(exact=True) == 1.0
        assert await recall(ef=400) >= await recall(ef=1)
    finally:
        await fleet.stop()
