"""The rows of one import, as a client streams them: checked chunk by chunk, one Arrow batch each. No I/O of its own.

Called by `imports`. A refusal names the row by its place in the stream, `rows[1003].vectors[default]`, so that the
client can tell which row of its file that is. The trap: a stream that was cut looks like one that ended, so the header
says how many rows there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import pyarrow as pa

from vectorfleet.partition import shard_of
from vectorfleet.schema import CollectionSchema, KeyType
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node.api import errors, validate
from vectorfleet_node.api.errors import ApiError, invalid
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.shard.view import Key

MAX_CHUNK_BYTES: Final = 4 << 20


async def header_of(requests: AsyncIterator[pb.ImportRequest]) -> pb.ImportHeader:
    """The first message of a stream, refused when it is no header with an id."""
    async for request in requests:
        if request.WhichOneof("message") != "header":
            break
        if not request.header.request_id:
            raise invalid("header.request_id", f"is empty; 1 to {validate.MAX_REQUEST_ID} characters are needed")
        validate.check_request_id(request.header.request_id)
        return request.header
    raise invalid("header", "is absent; the first message of an import must be its header")


async def checked(
    requests: AsyncIterator[pb.ImportRequest], header: pb.ImportHeader, schema: CollectionSchema
) -> AsyncGenerator[pa.RecordBatch]:
    """The rows after the header, in `batch.arrow_schema(schema)`; a chunk is read when the one before was taken.

    INVALID_ARGUMENT, which names the row where it is one, as soon as something is wrong.
    """
    taken = _Taken(header, schema)
    async for request in requests:
        yield await asyncio.to_thread(taken.add, request)
    if taken.rows != header.rows:
        raise invalid("header.rows", f"is {header.rows}; {taken.rows} rows came, and then the stream ended")


class _Taken:
    """What came so far."""

    def __init__(self, header: pb.ImportHeader, schema: CollectionSchema) -> None:
        self.rows = 0
        self._header = header
        self._schema = schema
        self._keys: set[Key] = set()

    def add(self, request: pb.ImportRequest) -> pa.RecordBatch:
        if request.WhichOneof("message") != "rows":
            raise invalid("rows", "are absent; each message after the header must have some")
        try:
            batch = validate.upsert_batch(request.rows, self._schema)
        except (ApiError, InvalidQuery) as error:
            raise _renumbered(error, self.rows) from None
        if batch.num_rows > 1 and (size := request.ByteSize()) > MAX_CHUNK_BYTES:
            raise invalid("rows", f"has {size} bytes in a message of several rows; {MAX_CHUNK_BYTES} are allowed")
        self._check_keys(request.rows.keys)
        self.rows += batch.num_rows
        if self.rows > self._header.rows:
            raise invalid("header.rows", f"is {self._header.rows}; {self.rows} rows came, and the stream goes on")
        return batch

    def _check_keys(self, keys: pb.Keys) -> None:
        wanted, shards = self._header.shard, self._schema.shards
        values: Sequence[Key] = keys.strings if self._schema.key is KeyType.STRING else keys.ints
        for number, key in enumerate(values, self.rows):
            if shards > 1 and (shard := shard_of(key, shards)) != wanted:
                raise invalid(f"rows[{number}].keys", f"key {key!r} belongs to shard {shard}, not to {wanted}")
            if key in self._keys:
                raise invalid(f"rows[{number}].keys", f"key {key!r} is given twice; those of one import are distinct")
            self._keys.add(key)


def _renumbered(error: ApiError | InvalidQuery, first: int) -> ApiError:
    """The refusal of a chunk as one of the stream; `first`: how many rows came before."""
    field, problem = (error.field, error.message) if isinstance(error, InvalidQuery) else errors.violation_of(error)
    if error.row is None:
        return invalid(field, problem)
    return invalid(field.replace("rows.", f"rows[{first + error.row}].", 1), problem.removeprefix(f"row {error.row} "))
