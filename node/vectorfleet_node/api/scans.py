"""Scans: every row that matches a filter, page by page. `LocalScans` reads a shard of this node, `Scans` all of them.

Shards are read one after the other, each in the order of its keys and at the one log position of the view that its node
holds (`held`). The cursor says where the scan is, who holds the view and which key was last, so that any node can
continue it, and so that it can go on behind that key when the view is gone and the caller agrees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError

from vectorfleet.errors import SCAN_LOST
from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import CollectionTopology
from vectorfleet.v1 import peer_pb2
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import validate
from vectorfleet_node.api.consistency import not_before, tell_rotten, view_at
from vectorfleet_node.api.errors import ApiError, UnreachableError, hints, invalid
from vectorfleet_node.api.held import HeldScan, HeldScans
from vectorfleet_node.api.rows import key_values, keys_message, rows_message
from vectorfleet_node.query.model import Rows
from vectorfleet_node.query.scan import Order, in_order, page
from vectorfleet_node.query.validate import MAX_VECTOR_BYTES, resolve_output_fields
from vectorfleet_node.shard.port import Replica, Rotten
from vectorfleet_node.shard.view import ShardView

DEFAULT_PAGE: Final = 1000
MAX_PAGE: Final = 16_384
_VIEW_PART: Final = 0.5  # of the time left, for reaching the consistency level; the rest is for reading
T = TypeVar("T")


class LocalScans:
    """Pages of the replicas of this process. threads: reads run there."""

    def __init__(
        self,
        node: str,
        replica: Callable[[str, int], Replica | None],
        schema: Callable[[str], CollectionSchema],
        threads: ThreadPoolExecutor,
        held: HeldScans,
    ) -> None:
        self.held = held
        self._node = node
        self._replica = replica
        self._schema = schema
        self._threads = threads

    async def page(self, asked: peer_pb2.ScanShardRequest, seconds: float) -> peer_pb2.ScanShardResponse:
        """The page that the cursor stands at; consistency already resolved. See the .proto."""
        if asked.request.close:
            self.held.drop(asked.cursor.id)
            return peer_pb2.ScanShardResponse()
        if not asked.cursor.id:
            return await self._begin(asked, seconds)
        scan = self.held.find(asked.cursor.id, asked.request.collection, asked.cursor.shard)
        if scan is None:
            return peer_pb2.ScanShardResponse(lost=True)
        try:
            return await self._read(asked, scan)
        except Rotten:  # no later page can do without these bytes
            self.held.drop(asked.cursor.id)
            return peer_pb2.ScanShardResponse(lost=True)

    async def _begin(self, asked: peer_pb2.ScanShardRequest, seconds: float) -> peer_pb2.ScanShardResponse:
        request, cursor = asked.request, asked.cursor
        schema = self._schema(request.collection)
        replica = self._replica(request.collection, cursor.shard)
        answer, view = await view_at(replica, cursor.shard, request.consistency, seconds * _VIEW_PART)
        if view is None:
            return peer_pb2.ScanShardResponse(answers=[answer])
        self.held.require_room()
        after = next(iter(key_values(cursor.last)), None)
        wanted = validate.filter_of(request.filter, schema)
        try:
            order = await self._run(in_order, view, schema, wanted, after)
            response = await self._read(asked, HeldScan(request.collection, cursor.shard, schema, view, order))
        except Rotten as error:
            tell_rotten([answer], {cursor.shard: str(error)})
            return peer_pb2.ScanShardResponse(answers=[answer])
        response.answers.append(answer)
        return response

    async def _read(self, asked: peer_pb2.ScanShardRequest, scan: HeldScan) -> peer_pb2.ScanShardResponse:
        """A page of the scan, which is held from now on unless it is at its end."""
        request, cursor = asked.request, asked.cursor
        start = int(cursor.offset) if cursor.id else 0
        stop = min(start + request.page_size, len(scan.order))
        fields = resolve_output_fields(scan.schema, request.output_fields)
        rows, last = await self._run(
            _page, scan.view, scan.schema, scan.order, start, stop - start, fields, request.include_vectors
        )
        response = peer_pb2.ScanShardResponse(rows=rows)
        if stop < len(scan.order):
            response.next.CopyFrom(cursor)
            response.next.last.CopyFrom(keys_message([last], scan.schema.key))
            response.next.node, response.next.offset, response.next.position = self._node, stop, scan.view.position
            response.next.id = cursor.id or self.held.hold(scan)
        elif cursor.id:
            self.held.ended(cursor.id)
        return response

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args))


def _page(
    view: ShardView,
    schema: CollectionSchema,
    order: Order,
    start: int,
    size: int,
    fields: tuple[str, ...],
    vectors: bool,
) -> tuple[pb.Rows, Any]:
    """The rows and the last one's key."""
    found: Rows = page(view, schema, order, start, size, fields, vectors)
    return rows_message(found, schema), found.keys[-1] if size else None


def checked(request: pb.ScanRequest, schema: CollectionSchema) -> None:
    """Refuses what cannot be scanned, before any shard sees it; fills in the page size."""
    if request.page_size > MAX_PAGE:
        raise invalid(
            "page_size", f"is {request.page_size}; it has to be from 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}"
        )
    request.page_size = request.page_size or DEFAULT_PAGE
    size = request.page_size * sum(vector.dimensions for vector in schema.vectors) * 4 if request.include_vectors else 0
    if size > MAX_VECTOR_BYTES:
        problem = f"is {request.page_size}: its vectors take {size} bytes; a page may have {MAX_VECTOR_BYTES}"
        raise invalid("page_size", problem)
    validate.filter_of(request.filter, schema)
    resolve_output_fields(schema, request.output_fields)


def cursor_of(request: pb.ScanRequest, uid: str, shards: int) -> peer_pb2.ScanCursor:
    """Where the scan stands; at its beginning without a cursor. An error when it is of another scan or collection."""
    if not request.cursor:
        return peer_pb2.ScanCursor(uid=uid, filter=request.filter)
    try:
        cursor = peer_pb2.ScanCursor.FromString(request.cursor)
    except DecodeError:
        raise invalid("cursor", "is not the cursor of a ScanResponse") from None
    if cursor.uid != uid:
        message = f"the cursor is of collection {cursor.uid!r}; this one's id is {uid!r}: it was made anew"
        raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)
    if cursor.filter != request.filter:
        raise invalid("filter", f"is {request.filter!r}; the cursor is of a scan with {cursor.filter!r}")
    if cursor.shard >= shards:
        raise invalid("cursor", f"stands at shard {cursor.shard}; the collection has {shards}")
    return cursor


def behind(cursor: peer_pb2.ScanCursor) -> peer_pb2.ScanCursor:
    """The same place in a view that is yet to be taken."""
    again = peer_pb2.ScanCursor()
    again.CopyFrom(cursor)
    again.node, again.id, again.offset = "", "", 0
    return again


def lost(cursor: peer_pb2.ScanCursor) -> ApiError:
    """The view is gone, and the caller did not agree to another."""
    message = (
        f"node {cursor.node} does not hold the view of shard {cursor.shard} at position {cursor.position} any more "
        "(it restarted, the scan was idle for too long, or a file was damaged): begin anew, or set `resume` to go on "
        "at a newer position"
    )
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, message, hints(SCAN_LOST, None))


def following(cursor: peer_pb2.ScanCursor, shards: int) -> peer_pb2.ScanCursor | None:
    """The beginning of the next shard; None behind the last one."""
    if cursor.shard + 1 >= shards:
        return None
    return peer_pb2.ScanCursor(uid=cursor.uid, filter=cursor.filter, shard=cursor.shard + 1)


Begin = Callable[[peer_pb2.ScanShardRequest], Any]  # -> awaitable ScanShardResponse of any replica that can
GoOn = Callable[[str, peer_pb2.ScanShardRequest], Any]  # node -> awaitable ScanShardResponse, or UnreachableError


async def next_page(
    request: pb.ScanRequest, collection: CollectionTopology, uid: str, begin: Begin, go_on: GoOn
) -> pb.ScanResponse:
    """The next page that has rows, over as many shards as that takes; `request` is checked and resolved.

    begin: takes a new view of the cursor's shard, wherever that works. go_on: asks the node that holds one.
    """
    shards = collection.collection.shards
    cursor = cursor_of(request, uid, shards)
    answer = pb.ScanResponse(session=pb.SessionToken(uid=uid))
    if request.close:
        if cursor.id:
            await go_on(cursor.node, peer_pb2.ScanShardRequest(request=request, cursor=cursor))
        return answer
    place: peer_pb2.ScanCursor | None = cursor
    while place is not None:
        asked = peer_pb2.ScanShardRequest(request=request, cursor=place)
        found = await _held(asked, go_on) if place.id else None
        if found is None:
            if place.id:
                if not request.resume:
                    raise lost(place)
                asked.cursor.CopyFrom(behind(place))
                answer.resumed = True
            if place.position:
                level = not_before(request.consistency, uid, {place.shard: place.position})
                asked.request.consistency.CopyFrom(level)
            found = await begin(asked)
        answer.session.positions[place.shard] = found.answers[0].position if found.answers else place.position
        place = found.next if found.HasField("next") else following(place, shards)
        if found.rows.keys.strings or found.rows.keys.ints:
            answer.rows.CopyFrom(found.rows)
            break
    if place is not None:
        answer.cursor = place.SerializeToString()
    return answer


async def _held(asked: peer_pb2.ScanShardRequest, go_on: GoOn) -> peer_pb2.ScanShardResponse | None:
    """The page of the held view; None when that is gone, or its node is away and the caller agreed to another view."""
    try:
        response: peer_pb2.ScanShardResponse = await go_on(asked.cursor.node, asked)
    except UnreachableError:
        if not asked.request.resume:
            raise
        return None
    return None if response.lost else response
