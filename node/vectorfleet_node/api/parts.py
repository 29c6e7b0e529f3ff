"""A write, cut into one part per shard, and what became of each part; pure.

`writes.py` sends the parts; the API answers with what `failure` makes of the outcomes when not all landed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import pyarrow as pa

from vectorfleet.partition import shard_of
from vectorfleet.schema import CollectionSchema, KeyType
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api.errors import ApiError, hints
from vectorfleet_node.api.rows import keys_message
from vectorfleet_node.query.filters import Filter
from vectorfleet_node.query.scan import matching_keys
from vectorfleet_node.shard.batch import KEY_COLUMN, decode, encode
from vectorfleet_node.shard.port import DeletePart, NotApplied, SelectPart, UpsertPart
from vectorfleet_node.shard.view import Key

# Details travel in a header, and most gRPC stacks refuse headers of more than 8 KiB.
_DETAIL_KEY_BYTES = 4096


@dataclass(frozen=True)
class Part:
    """One shard's part of a write."""

    shard: int
    keys: tuple[Key, ...]
    rows: pa.RecordBatch | None  # None: the keys are to be deleted
    filter: Filter | None = None  # or, with this, whatever matches it

    def local(self) -> UpsertPart | DeletePart | SelectPart:
        """As a replica in this process takes it."""
        if self.filter is not None:
            return selecting(self.filter)
        return DeletePart(self.keys) if self.rows is None else UpsertPart(self.rows)

    def message(self, collection: str, request_id: str, floor: int, kind: KeyType) -> peer_pb2.AppendRequest:
        """As another node takes it."""
        request = peer_pb2.AppendRequest(collection=collection, shard=self.shard, request_id=request_id, floor=floor)
        if self.filter is not None:
            request.delete_filter = self.filter.text
        elif self.rows is None:
            request.delete.CopyFrom(keys_message(self.keys, kind))
        else:
            request.upsert = encode(self.rows)
        return request


@dataclass(frozen=True)
class Landed:
    """The part is in the log at this position. deleted: rows, of a delete by filter, when that is known."""

    position: int
    deleted: int | None = None


@dataclass(frozen=True)
class Failed:
    """The part did not land as far as we know; `in_doubt` says that it still may.

    reason: name of the error, where one of shard or storage says it best. retry_after: seconds, when the error knows.
    """

    in_doubt: bool
    code: grpc.StatusCode
    message: str
    reason: str = ""
    retry_after: float | None = None


Outcome = Landed | Failed


def split_upsert(rows: pa.RecordBatch, schema: CollectionSchema) -> list[Part]:
    """One part per shard that has rows, each with its rows in their order."""
    keys: list[Key] = rows.column(KEY_COLUMN).to_pylist()
    if schema.shards == 1:
        return [Part(0, tuple(keys), rows)]
    shards = np.fromiter((shard_of(key, schema.shards) for key in keys), dtype=np.int64, count=len(keys))
    parts = []
    for shard in np.unique(shards).tolist():
        numbers = np.flatnonzero(shards == shard)
        parts.append(Part(shard, tuple(keys[number] for number in numbers), rows.take(pa.array(numbers))))
    return parts


def split_keys(keys: Sequence[Key], schema: CollectionSchema) -> list[Part]:
    """One part per shard that has keys."""
    by_shard: dict[int, list[Key]] = {}
    for key in keys:
        by_shard.setdefault(shard_of(key, schema.shards), []).append(key)
    return [Part(shard, tuple(keys), None) for shard, keys in sorted(by_shard.items())]


def split_filter(filter_: Filter, schema: CollectionSchema) -> list[Part]:
    """One part for every shard."""
    return [Part(shard, (), None, filter_) for shard in range(schema.shards)]


def selecting(filter_: Filter) -> SelectPart:
    """The delete of what matches, as a replica takes it."""
    return SelectPart(lambda view, limit: matching_keys(view, filter_, limit))


async def received(rows: bytes, schema: CollectionSchema) -> pa.RecordBatch:
    """Rows as another node sent them; NotApplied, so that they are sent again, when one of the two lags."""
    try:
        return await asyncio.to_thread(decode, rows, schema)
    except ValueError as error:
        raise NotApplied(f"this node has another schema: {error}") from None


def _shown(keys: Sequence[Key], room: int) -> tuple[list[Key], int]:
    shown = []
    for key in keys:
        room -= len(str(key).encode()) + 2
        if room < 0:
            break
        shown.append(key)
    return shown, room


def failure(
    parts: Sequence[Part], outcomes: Mapping[int, Outcome], uid: str, schema: CollectionSchema, request_id: str
) -> ApiError | None:
    """The error that tells what landed and what did not; None when everything landed.

    Keys are listed as far as a header has room; the message says how many there are.
    """
    detail = pb.WriteFailure(landed=pb.SessionToken(uid=uid), shards=schema.shards)
    failed: list[Failed] = []
    sentences, room = [], _DETAIL_KEY_BYTES
    for part in parts:
        outcome = outcomes[part.shard]
        if isinstance(outcome, Landed):
            detail.landed.positions[part.shard] = outcome.position
            continue
        shown, room = _shown(part.keys, room)
        failed.append(outcome)
        what = "filter" if part.filter is not None else f"{len(part.keys)} keys"
        sentences.append(f"shard {part.shard} ({what}): {outcome.message}")
        listed = (
            "" if len(shown) == len(part.keys) else f" (the first {len(shown)} of {len(part.keys)} keys are listed)"
        )
        detail.parts.add(
            shard=part.shard,
            outcome=pb.WriteFailure.UNKNOWN if outcome.in_doubt else pb.WriteFailure.FAILED,
            keys=keys_message(shown, schema.key),
            message=outcome.message[:500] + listed,
        )
    if not failed:
        return None
    codes, reasons = {outcome.code for outcome in failed}, {outcome.reason for outcome in failed}
    code = codes.pop() if len(codes) == 1 else grpc.StatusCode.UNAVAILABLE
    waits = [outcome.retry_after for outcome in failed if outcome.retry_after is not None]
    more = hints(reasons.pop() if len(reasons) == 1 else "", max(waits, default=None))
    told = "; ".join(sentences)[:1500]
    message = f"{len(sentences)} of {len(parts)} shards did not take the write {request_id!r}: {told}"
    return ApiError(code, f"{message}. Send it again with the same request_id to complete it", [detail, *more])
