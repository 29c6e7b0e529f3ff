"""Makes the values that users get of the replies of the wire. Pure; named by the calls of requests.py."""

from __future__ import annotations

import itertools
from typing import Any

from vectorfleet import columns
from vectorfleet.errors import NotFound
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.values import (
    CollectionInfo,
    FieldInfo,
    Group,
    Hit,
    IndexInfo,
    ReplicaInfo,
    Row,
    SearchResult,
    SegmentExplanation,
    ShardExplanation,
    ShardInfo,
    VectorInfo,
    WriteResult,
)


def written(responses: list[pb.WriteResponse], request_id: str) -> WriteResult:
    """Sums up the parts of a write."""
    positions: dict[int, int] = {}
    for response in responses:
        positions.update(response.session.positions)
    known = not any(response.rows_unknown for response in responses)
    return WriteResult(sum(response.rows for response in responses), request_id, positions, known)


def found(responses: list[pb.SearchResponse], grouped: bool = False) -> SearchResult:
    """The hits of all parts of a search, in the order of the queries; `grouped`: it has a group_by."""
    results = [result for response in responses for result in response.results]
    hits = [_hits(result) for result in results]
    return SearchResult(
        hits,
        tuple(sorted({kind for response in responses for kind in response.indexes})),
        tuple(sorted({shard for response in responses for shard in response.missing_shards})),
        [_groups(result, flat) for result, flat in zip(results, hits, strict=True)] if grouped else [],
        tuple(_explanation(told) for response in responses for told in response.explanation),
    )


def _explanation(told: pb.ShardExplanation) -> ShardExplanation:
    segments = tuple(
        SegmentExplanation(
            each.rows,
            each.live,
            each.allowed,
            each.sealed,
            each.index,
            each.candidates,
            each.filter_us,
            each.engine_us,
            each.plan,
        )
        for each in told.segments
    )
    return ShardExplanation(
        told.shard,
        told.node,
        told.position,
        told.wait_us,
        told.batch_queries,
        segments,
        told.rank_us,
        told.gather_us,
    )


def got(responses: list[pb.GetResponse]) -> list[Row]:
    """The rows of all parts of a get."""
    return [row for response in responses for row in rows(response.rows)]


def counted(responses: list[pb.CountResponse]) -> int:
    """The count."""
    return responses[0].count


def described(responses: list[pb.DescribeResponse]) -> list[CollectionInfo]:
    """Every collection of the reply."""
    return [_collection(info) for info in responses[0].collections]


def described_one(responses: list[pb.DescribeResponse]) -> CollectionInfo:
    """The one collection asked for."""
    known = described(responses)
    if not known:
        raise NotFound("the server described no collection")
    return known[0]


def created(responses: list[pb.CreateCollectionResponse]) -> CollectionInfo:
    """The collection as made."""
    return _collection(responses[0].collection)


def rows(message: pb.Rows) -> list[Row]:
    """Rows of a column-wise message."""
    return [Row(key, fields, vectors) for key, fields, vectors in _unzipped(message)]


def _hits(hits: pb.Hits) -> list[Hit]:
    return [
        Hit(key, score, fields, vectors)
        for (key, fields, vectors), score in zip(_unzipped(hits.rows), hits.scores, strict=True)
    ]


def _groups(result: pb.Hits, hits: list[Hit]) -> list[Group]:
    (values,) = columns.unpack_fields([result.groups], len(result.group_sizes)).values()
    ends = list(itertools.accumulate(result.group_sizes))
    return [
        Group(value, hits[end - size : end]) for value, size, end in zip(values, result.group_sizes, ends, strict=True)
    ]


def _unzipped(message: pb.Rows) -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
    keys = columns.unpack_keys(message.keys)
    fields = columns.unpack_fields(message.fields, len(keys))
    vectors = columns.unpack_vectors(message.vectors)
    return [
        (
            key,
            {name: values[row] for name, values in fields.items()},
            {name: array[row] for name, array in vectors.items()},
        )
        for row, key in enumerate(keys)
    ]


def _collection(info: pb.CollectionInfo) -> CollectionInfo:
    return CollectionInfo(
        info.name,
        info.uid,
        info.key_type,
        tuple(
            VectorInfo(each.name, each.dimensions, each.metric, each.index, each.quantization or "Auto")
            for each in info.vectors
        ),
        tuple(FieldInfo(each.name, each.type, each.indexed) for each in info.fields),
        tuple(ShardInfo(shard.id, tuple(_replica(each) for each in shard.replicas)) for shard in info.shards),
    )


def _replica(info: pb.ReplicaInfo) -> ReplicaInfo:
    return ReplicaInfo(
        info.node,
        info.reachable,
        info.ready,
        info.leader,
        info.position,
        info.rows,
        info.growing_rows,
        tuple(info.indexes),
        info.message,
        info.quarantined,
        info.segments,
        info.bytes,
        info.live_bytes,
        info.compaction,
        tuple(IndexInfo(each.vector, each.kind, each.reason, each.segments, each.rows) for each in info.index_details),
    )
