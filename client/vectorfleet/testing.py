"""An in-memory VectorFleet server for tests of programs that use the client: exact search, nothing to install.

    with FakeFleet() as fleet, Client(fleet.address) as client:
        client.create_collection("things", 3)

It answers the whole API over real gRPC on a free port. `fail` and `lose_replies` make the next calls go wrong the way a
fleet can. It is a stand-in: nothing is durable, every consistency level is strong, a scan shows the
newest rows on each page, and filters are the comparisons,
`in`, `and`, `or` and `not` that Python's grammar shares with vectorfleet's.
"""

from __future__ import annotations

import ast
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from numpy.typing import NDArray

from vectorfleet import columns
from vectorfleet.errors import InvalidArgument
from vectorfleet.partition import Key
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.v1.vectorfleet_pb2_grpc import VectorFleetServicer, add_VectorFleetServicer_to_server


@dataclass(frozen=True)
class _Fault:
    method: str
    code: grpc.StatusCode
    late: bool = False  # after the work was done
    retry_after: float | None = None

    def refusal(self, seconds: float) -> status_pb2.Status:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * seconds))
        status = status_pb2.Status(code=self.code.value[0], message="the server is full, as the test asked")
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status


@dataclass
class _Row:
    vectors: dict[str, NDArray[np.float32]]
    fields: dict[str, Any]


@dataclass
class _Collection:
    info: pb.CollectionInfo
    rows: dict[Key, _Row] = field(default_factory=dict)
    position: int = 1
    replies: dict[str, pb.WriteResponse] = field(default_factory=dict)

    def session(self) -> pb.SessionToken:
        return pb.SessionToken(uid=self.info.uid, positions={0: self.position})


class FakeFleet:
    """The server; a context manager that starts and stops it. `calls` counts the requests that arrived, by method."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.requests: list[Any] = []
        self._faults: list[_Fault] = []
        self.lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 64 << 20)])
        add_VectorFleetServicer_to_server(_Servicer(self), self._server)  # type: ignore[no-untyped-call]
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def address(self) -> str:
        """host:port to connect to."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> FakeFleet:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait()

    def fail(self, method: str, times: int = 1, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """The next `times` calls of `method` (e.g. "Search") fail with `code` and change nothing."""
        self._faults += [_Fault(method, code)] * times

    def fill(self, method: str, times: int = 1, retry_after: float = 0.05) -> None:
        """The next `times` calls of `method` find no room and are told to come back after `retry_after` seconds."""
        self._faults += [_Fault(method, grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=retry_after)] * times

    def lose_replies(self, method: str, times: int = 1) -> None:
        """The next `times` calls of `method` are done and answered UNAVAILABLE: the node died before it replied."""
        self._faults += [_Fault(method, grpc.StatusCode.UNAVAILABLE, late=True)] * times

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Calls are not answered until the end of the with block."""
        with self.lock:
            yield

    def _arrived(self, method: str, request: Any) -> _Fault | None:
        self.calls[method] = self.calls.get(method, 0) + 1
        self.requests.append(request)
        for place, fault in enumerate(self._faults):
            if fault.method == method:
                return self._faults.pop(place)
        return None


class _Servicer(VectorFleetServicer):
    """The RPCs. One lock: a fake need not be fast."""

    def __init__(self, fleet: FakeFleet) -> None:
        self._fleet = fleet
        self._collections: dict[str, _Collection] = {}

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext, work: Callable[[], Any]) -> Any:
        with self._fleet.lock:
            fault = self._fleet._arrived(method, request)
            if fault is not None and fault.retry_after is not None:
                context.abort_with_status(rpc_status.to_status(fault.refusal(fault.retry_after)))
            if fault is not None and not fault.late:
                context.abort(fault.code, "a fault asked for by the test")
            try:
                reply = work()
            except InvalidArgument as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except KeyError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, f"no collection {error}")
            if fault is not None:
                context.abort(fault.code, "the reply was lost, as the test asked")
            return reply

    def CreateCollection(self, request: pb.CreateCollectionRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def work() -> pb.CreateCollectionResponse:
            shard = pb.ShardInfo(id=0, replicas=[pb.ReplicaInfo(node="fake", reachable=True, ready=True, leader=True)])
            made = pb.CollectionInfo(
                name=request.name,
                uid=f"fake-{request.name}",
                key_type=request.key_type or "String",
                vectors=request.vectors,
                fields=request.fields,
                shards=[shard],
            )
            known = self._collections.setdefault(request.name, _Collection(made))
            if known.info.vectors != made.vectors or known.info.fields != made.fields:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{request.name} exists with another schema")
            return pb.CreateCollectionResponse(collection=known.info)

        return self._answer("CreateCollection", request, context, work)

    def Upsert(self, request: pb.UpsertRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def apply(collection: _Collection) -> int:
            return _put(collection, request.rows)

        return self._answer("Upsert", request, context, lambda: self._written(request, apply))

    def Import(self, requests: Iterator[pb.ImportRequest], context: grpc.ServicerContext) -> Any:  # noqa: N802
        header = next(requests).header

        def apply(collection: _Collection) -> int:
            chunks = [request.rows for request in requests]
            came = sum(len(columns.unpack_keys(rows.keys)) for rows in chunks)
            if came != header.rows:
                raise InvalidArgument(f"header.rows: is {header.rows}; {came} rows came, and then the stream ended")
            return sum(_put(collection, rows) for rows in chunks)

        def work() -> pb.ImportResponse:
            known = header.request_id in self._collections[header.collection].replies
            if not known and not header.rows:
                return pb.ImportResponse()
            return pb.ImportResponse(session=self._written(header, apply).session, rows=header.rows, repeated=known)

        return self._answer("Import", header, context, work)

    def Delete(self, request: pb.DeleteRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def apply(collection: _Collection) -> int:
            if bool(request.filter) == bool(columns.unpack_keys(request.keys)):
                raise InvalidArgument("exactly one of keys and filter is needed")
            matching = _matching(collection, request.filter) if request.filter else None
            keys = columns.unpack_keys(request.keys) if matching is None else matching
            for key in keys:
                collection.rows.pop(key, None)
            return len(keys)

        return self._answer("Delete", request, context, lambda: self._written(request, apply))

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def work() -> pb.SearchResponse:
            collection = self._collections[request.collection]
            info = next((each for each in collection.info.vectors if each.name == (request.vector or "default")), None)
            if info is None or info.dimensions != request.dimensions:
                raise InvalidArgument(f"queries have {request.dimensions} dimensions; the collection says {info}")
            queries = np.frombuffer(request.queries, "<f4").reshape(-1, request.dimensions)
            keys = _matching(collection, request.filter)
            table = np.array([collection.rows[key].vectors[info.name] for key in keys], np.float32)
            table = table.reshape(len(keys), info.dimensions)
            response = pb.SearchResponse(session=collection.session(), indexes=["Exact"])
            for scores in _scores(info.metric, queries, table):
                order = [row for row in np.argsort(-scores, kind="stable") if scores[row] >= _threshold(request)]
                best, sizes, values = _grouped(collection, keys, order, request)
                rows = _rows(collection, [keys[row] for row in best], request.output_fields, request.include_vectors)
                hits = response.results.add(rows=rows, scores=scores[best], group_sizes=sizes)
                if request.HasField("group_by"):
                    field = request.group_by.field
                    hits.groups.CopyFrom(columns.pack_field(field, values) or pb.FieldColumn(name=field))
            return response

        return self._answer("Search", request, context, work)

    def Scan(self, request: pb.ScanRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def work() -> pb.ScanResponse:
            if request.close:
                return pb.ScanResponse()
            collection = self._collections[request.collection]
            after = columns.unpack_keys(pb.Keys.FromString(request.cursor))
            keys = sorted(key for key in _matching(collection, request.filter) if [key] > after)
            here = keys[: request.page_size]
            cursor = columns.pack_keys(here[-1:]).SerializeToString() if len(here) < len(keys) else b""
            rows = _rows(collection, here, request.output_fields, request.include_vectors)
            return pb.ScanResponse(rows=rows, cursor=cursor, session=collection.session())

        return self._answer("Scan", request, context, work)

    def Get(self, request: pb.GetRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def work() -> pb.GetResponse:
            collection = self._collections[request.collection]
            keys = [key for key in columns.unpack_keys(request.keys) if key in collection.rows]
            rows = _rows(collection, keys, request.output_fields, request.include_vectors)
            return pb.GetResponse(rows=rows, session=collection.session())

        return self._answer("Get", request, context, work)

    def Count(self, request: pb.CountRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def work() -> pb.CountResponse:
            collection = self._collections[request.collection]
            return pb.CountResponse(count=len(_matching(collection, request.filter)), session=collection.session())

        return self._answer("Count", request, context, work)

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> Any:  # noqa: N802
        def work() -> pb.DescribeResponse:
            names = [request.collection] if request.collection else sorted(self._collections)
            found = [self._collections[name] for name in names]
            for collection in found:
                replica = collection.info.shards[0].replicas[0]
                replica.rows, replica.position = len(collection.rows), collection.position
            return pb.DescribeResponse(collections=[each.info for each in found], node="fake", version="fake")

        return self._answer("Describe", request, context, work)

    def _written(self, request: Any, apply: Callable[[_Collection], int]) -> pb.WriteResponse:
        """Applies a write once per request id."""
        collection = self._collections[request.collection]
        if request.request_id not in collection.replies:
            rows = apply(collection)
            collection.position += 1
            collection.replies[request.request_id] = pb.WriteResponse(session=collection.session(), rows=rows)
        return collection.replies[request.request_id]


def _put(collection: _Collection, rows: pb.Rows) -> int:
    """Inserts or replaces the rows; how many they are."""
    keys = columns.unpack_keys(rows.keys)
    vectors = columns.unpack_vectors(rows.vectors)
    fields = columns.unpack_fields(rows.fields, len(keys))
    for column in rows.fields:
        if column.WhichOneof("values") == "jsons":
            fields[column.name] = [None if each is None else columns.Json(each) for each in fields[column.name]]
    _check(collection.info, vectors, rows.fields)
    for row, key in enumerate(keys):
        collection.rows[key] = _Row(
            {name: array[row] for name, array in vectors.items()},
            {name: values[row] for name, values in fields.items()},
        )
    return len(keys)


def _check(info: pb.CollectionInfo, vectors: dict[str, NDArray[np.float32]], fields: Iterable[pb.FieldColumn]) -> None:
    for vector in info.vectors:
        given = vectors[vector.name].shape[1] if vector.name in vectors else 0
        if given != vector.dimensions:
            raise InvalidArgument(f"vectors[{vector.name}] has {given} dimensions; expected {vector.dimensions}")
    types = {each.name: each.type for each in info.fields}
    for column in fields:
        if column.name not in types:
            raise InvalidArgument(f"unknown field {column.name!r}; the collection has: {', '.join(types)}")
        given, wanted = column.WhichOneof("values"), _VALUES[types[column.name]]
        empty = all(value in (None, []) for value in columns.unpack_fields([column], len(column.valid))[column.name])
        if given != wanted and not (empty and given.endswith("_arrays") and wanted.endswith("_arrays")):
            raise InvalidArgument(f"{column.name}: a {types[column.name]} field takes {_VALUES[types[column.name]]}")


def _scores(metric: str, queries: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of shape (queries, rows), higher is better."""
    if metric == "L2":
        return np.stack([-((table - query) ** 2).sum(axis=1) for query in queries])
    if metric == "Cosine":
        table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-30)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    return np.asarray(queries @ table.T, np.float32)


def _threshold(request: pb.SearchRequest) -> float:
    return request.min_score if request.HasField("min_score") else -np.inf


def _grouped(
    collection: _Collection, keys: list[Key], order: list[int], request: pb.SearchRequest
) -> tuple[list[int], list[int], list[Any]]:
    """The k best rows, or those of the k best groups, and of each group its size and value."""
    if not request.HasField("group_by"):
        return order[: request.k], [], []
    groups: dict[Any, list[int]] = {}
    for row in order:
        groups.setdefault(collection.rows[keys[row]].fields.get(request.group_by.field), []).append(row)
    chosen = [(value, rows[: request.group_by.size]) for value, rows in list(groups.items())[: request.k]]
    return (
        [row for _, rows in chosen for row in rows],
        [len(rows) for _, rows in chosen],
        [value for value, _ in chosen],
    )


def _rows(collection: _Collection, keys: list[Key], output_fields: Iterable[str], include_vectors: bool) -> pb.Rows:
    rows = [collection.rows[key] for key in keys]
    wanted = set(output_fields)
    names = [each.name for each in collection.info.fields if each.name in wanted or "*" in wanted]
    packed = [columns.pack_field(name, [row.fields.get(name) for row in rows]) for name in names]
    vectors = [
        columns.pack_vectors(each.name, columns.matrix([row.vectors[each.name] for row in rows]))
        for each in (collection.info.vectors if include_vectors and rows else ())
    ]
    filled = [column or pb.FieldColumn(name=name) for name, column in zip(names, packed, strict=True)]
    return pb.Rows(keys=columns.pack_keys(keys), vectors=vectors, fields=filled)


def _matching(collection: _Collection, text: str) -> list[Key]:
    if not text:
        return list(collection.rows)
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise InvalidArgument(f"filter {text!r}: {error.msg}") from error
    return [key for key, row in collection.rows.items() if _holds(tree, row.fields)]


_VALUES = {
    "String": "strings",
    "Int64": "ints",
    "Float64": "doubles",
    "Bool": "bools",
    "StringArray": "string_arrays",
    "Int64Array": "int_arrays",
    "Float64Array": "double_arrays",
    "Json": "jsons",
}
_WORDS = {"true": True, "false": False}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
    ast.Lt: lambda left, right: left < right,
    ast.LtE: lambda left, right: left <= right,
    ast.Gt: lambda left, right: left > right,
    ast.GtE: lambda left, right: left >= right,
    ast.In: lambda left, right: left in right,
}


def _holds(node: ast.expr, fields: dict[str, Any]) -> bool:
    if isinstance(node, ast.BoolOp):
        parts = (_holds(value, fields) for value in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, fields)
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and type(node.ops[0]) in _COMPARISONS:
        left, right = fields.get(node.left.id), node.comparators[0]
        literal = _WORDS[right.id] if isinstance(right, ast.Name) and right.id in _WORDS else ast.literal_eval(right)
        return left is not None and _COMPARISONS[type(node.ops[0])](left, literal)
    raise InvalidArgument(f"filter: the fake does not know {ast.unparse(node)!r}")
