"""Builds the calls of the API from Python values. Pure; used by client.py and aio.py alike.

What can be judged without the server (lengths, types, names of levels) is judged here, before anything is sent.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from vectorfleet import columns, replies
from vectorfleet.calls import Call, split
from vectorfleet.errors import FieldViolation, InvalidArgument
from vectorfleet.partition import Key
from vectorfleet.scanning import Pages
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, KeyType, VectorSchema
from vectorfleet.session import Session
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.values import CollectionInfo, Row, SearchResult, WriteResult

Keys = Sequence[Key] | NDArray[Any]
Vectors = ArrayLike | Mapping[str, ArrayLike]
Fields = Mapping[str, Sequence[Any] | NDArray[Any]]
LEVELS = {
    "": pb.Consistency.DEFAULT,
    "Strong": pb.Consistency.STRONG,
    "Session": pb.Consistency.SESSION,
    "Bounded": pb.Consistency.BOUNDED,
    "Eventual": pb.Consistency.EVENTUAL,
}
_ID_LENGTH = 64
_HIT_BYTES = 16  # MAX_REQUEST_BYTES divided by the 2^20 hits that a node returns for one request
_KEY_BYTES = 8  # the least a key takes on the wire, roughly: only bounds the first guess of a message's size


def upsert(
    session: Session, collection: str, keys: Keys, vectors: Vectors, fields: Fields | None, request_id: str
) -> Call[WriteResult]:
    """Rows to insert or replace."""
    named = vectors if isinstance(vectors, Mapping) else {"default": vectors}
    arrays = {name: columns.matrix(array, f"vectors[{name}]") for name, array in named.items()}
    payload = dict(fields or {})
    columns.check_lengths(len(keys), {f"vectors[{name}]": len(array) for name, array in arrays.items()})
    columns.check_lengths(len(keys), {f"fields[{name}]": len(values) for name, values in payload.items()})
    floor = session.token(collection)

    def rows(start: int, stop: int) -> pb.UpsertRequest:
        packed = (columns.pack_field(name, values[start:stop]) for name, values in payload.items())
        return pb.UpsertRequest(
            collection=collection,
            floor=floor,
            rows=pb.Rows(
                keys=columns.pack_keys(keys[start:stop]),
                vectors=[columns.pack_vectors(name, array[start:stop]) for name, array in arrays.items()],
                fields=[column for column in packed if column is not None],
            ),
        )

    row_bytes = sum(array.shape[1] * 4 for array in arrays.values())
    return _write(session, collection, "Upsert", split(rows, len(keys), row_bytes), request_id)


def delete(session: Session, collection: str, keys: Keys | None, filter: str, request_id: str) -> Call[WriteResult]:
    """Rows to delete by key, or those that match."""
    floor = session.token(collection)
    if keys is None:
        if not filter.strip():
            raise InvalidArgument("give the keys of the rows to delete, or a filter that they match")
        message = pb.DeleteRequest(collection=collection, filter=filter, floor=floor)
        return _write(session, collection, "Delete", iter([message]), request_id)
    if filter:
        raise InvalidArgument("give either keys or a filter, not both")

    def part(start: int, stop: int) -> pb.DeleteRequest:
        return pb.DeleteRequest(collection=collection, keys=columns.pack_keys(keys[start:stop]), floor=floor)

    return _write(session, collection, "Delete", split(part, len(keys), _KEY_BYTES), request_id)


def _write(
    session: Session, collection: str, method: str, messages: Iterator[Any], request_id: str
) -> Call[WriteResult]:
    identifier = request_id or uuid.uuid4().hex
    if len(identifier) > _ID_LENGTH:
        raise InvalidArgument(f"request_id has {len(identifier)} characters; at most {_ID_LENGTH} are allowed")
    return Call(
        method,
        _with_ids(messages, identifier),
        lambda responses: replies.written(responses, identifier),
        collection,
        session,
        identifier,
    )


def _with_ids(messages: Iterator[Any], identifier: str) -> Iterator[Any]:
    """Each request of a call has an id of its own, the same ones each time the call is repeated with its id."""
    for number in itertools.count():
        message = next(messages, None)
        if message is None:
            return
        message.request_id = f"{identifier}.{number}" if number else identifier
        if len(message.request_id) > _ID_LENGTH:
            raise InvalidArgument(f"request_id {identifier!r} is too long for a call of several requests")
        yield message


def search(
    session: Session,
    collection: str,
    vectors: ArrayLike,
    *,
    k: int,
    vector: str,
    filter: str,
    output_fields: Sequence[str],
    include_vectors: bool,
    consistency: str | None,
    max_staleness: float,
    allow_partial: bool,
    exact: bool,
    ef: int,
    target_recall: float | None,
    min_score: float | None,
    group_by: str,
    group_size: int,
    explain: bool,
) -> Call[SearchResult]:
    """Queries, one row each."""
    queries = columns.matrix(vectors)
    if k < 1:
        raise InvalidArgument(f"k is {k}; expected 1 or more")
    if group_size < 1:
        raise InvalidArgument(f"group_size is {group_size}; expected 1 or more")
    level = _consistency(session, collection, consistency, max_staleness)

    def part(start: int, stop: int) -> pb.SearchRequest:
        return pb.SearchRequest(
            collection=collection,
            vector=vector,
            dimensions=queries.shape[1],
            queries=queries[start:stop].tobytes(),
            k=k,
            filter=filter,
            output_fields=_names(output_fields),
            include_vectors=include_vectors,
            consistency=level,
            allow_partial=allow_partial,
            params=pb.SearchParams(exact=exact, ef=ef, target_recall=target_recall),
            min_score=min_score,
            group_by=pb.GroupBy(field=group_by, size=group_size) if group_by else None,
            explain=explain,
        )

    finish = partial(replies.found, grouped=bool(group_by))
    if not len(queries):
        return Call("Search", (), finish, collection, session)
    # So few queries at a time that nodes accept what the answer may be.
    hit_bytes = max(_HIT_BYTES, queries.shape[1] // 4 if include_vectors else 0)
    messages = split(part, len(queries), max(queries.shape[1] * 4, hit_bytes * k * group_size))
    return Call("Search", messages, finish, collection, session)


def get(
    session: Session,
    collection: str,
    keys: Keys,
    *,
    output_fields: Sequence[str],
    include_vectors: bool,
    consistency: str | None,
    max_staleness: float,
) -> Call[list[Row]]:
    """Rows by key."""
    level = _consistency(session, collection, consistency, max_staleness)

    def part(start: int, stop: int) -> pb.GetRequest:
        return pb.GetRequest(
            collection=collection,
            keys=columns.pack_keys(keys[start:stop]),
            output_fields=_names(output_fields),
            include_vectors=include_vectors,
            consistency=level,
        )

    messages = split(part, len(keys), _KEY_BYTES) if len(keys) else ()
    return Call("Get", messages, replies.got, collection, session)


def scan(
    session: Session,
    collection: str,
    *,
    filter: str,
    output_fields: Sequence[str],
    include_vectors: bool,
    page_size: int,
    consistency: str | None,
    max_staleness: float,
    resume: bool,
) -> Pages:
    """All rows that match, page by page."""
    request = pb.ScanRequest(
        collection=collection,
        filter=filter,
        output_fields=_names(output_fields),
        include_vectors=include_vectors,
        page_size=max(page_size, 0),
        consistency=_consistency(session, collection, consistency, max_staleness),
        resume=resume,
    )
    return Pages(session, request)


def count(session: Session, collection: str, filter: str, consistency: str | None, max_staleness: float) -> Call[int]:
    """How many rows match."""
    level = _consistency(session, collection, consistency, max_staleness)
    request = pb.CountRequest(collection=collection, filter=filter, consistency=level)
    return Call("Count", (request,), replies.counted, collection, session)


def describe(collection: str) -> Call[CollectionInfo]:
    """One collection."""
    return Call("Describe", (pb.DescribeRequest(collection=collection),), replies.described_one)


def collections() -> Call[list[CollectionInfo]]:
    """Every collection the node knows."""
    return Call("Describe", (pb.DescribeRequest(),), replies.described)


def create_collection(
    name: str,
    dimensions: int | None,
    *,
    metric: str,
    index: str,
    quantization: str,
    key: str,
    fields: Mapping[str, str] | Sequence[FieldSchema],
    vectors: Sequence[VectorSchema],
    shards: int,
) -> Call[CollectionInfo]:
    """A collection on a stand-alone node: `dimensions` for one vector, or `vectors` for several."""
    if (dimensions is None) == (not vectors):
        raise InvalidArgument("give either dimensions (one vector) or vectors (several)")

    def schema() -> CollectionSchema:
        typed = [
            FieldSchema(name=field, type=FieldType(kind))
            for field, kind in (fields.items() if isinstance(fields, Mapping) else ())
        ] or list(fields if not isinstance(fields, Mapping) else ())
        one = {"dimensions": dimensions, "metric": metric, "index": index, "quantization": quantization}
        wanted = tuple(vectors) or (VectorSchema.model_validate(one),)
        return CollectionSchema(key=KeyType(key), vectors=wanted, fields=tuple(typed), shards=shards)

    wanted = _validated(schema)
    request = pb.CreateCollectionRequest(
        name=name,
        key_type=wanted.key,
        vectors=[pb.VectorInfo(**each.model_dump()) for each in wanted.vectors],
        fields=[pb.FieldInfo(**each.model_dump()) for each in wanted.fields],
        shards=wanted.shards,
    )
    return Call("CreateCollection", (request,), replies.created)


def _validated(make: Callable[[], CollectionSchema]) -> CollectionSchema:
    try:
        return make()
    except ValidationError as error:
        wrong = [
            FieldViolation(".".join(str(part) for part in each["loc"]), f"{each['msg']}, not {each['input']!r}")
            for each in error.errors()
        ]
        raise InvalidArgument("; ".join(f"{each.field}: {each.description}" for each in wrong), wrong) from None
    except ValueError as error:  # a name that is in none of the enums
        raise InvalidArgument(f"{error}") from None


def _names(output_fields: Sequence[str]) -> list[str]:
    return [output_fields] if isinstance(output_fields, str) else list(output_fields)


def _consistency(session: Session, collection: str, level: str | None, max_staleness: float) -> pb.Consistency:
    name = str(level or "")
    if name not in LEVELS:
        raise InvalidArgument(f"consistency is {name!r}; expected one of {', '.join(filter(None, LEVELS))}")
    if max_staleness < 0:
        raise InvalidArgument(f"max_staleness is {max_staleness:g} s; expected 0 (as the collection says) or more")
    wanted = pb.Consistency(level=LEVELS[name], max_staleness_seconds=max_staleness)
    if name in ("", "Session"):
        wanted.session.CopyFrom(session.token(collection))
    return wanted
