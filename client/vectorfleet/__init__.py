"""vectorfleet for its users: the client, and the contract that operator and nodes share.

Everything listed in `__all__` is the public SDK. Names are loaded when they are first used: nodes and the operator
import `vectorfleet.schema` and the like without paying for gRPC, and the command line starts fast.
"""

# ruff: noqa: I001 - ruff would write one import statement per `X as X`, which is what re-exports a name to type checkers

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vectorfleet.aio import AsyncClient as AsyncClient
    from vectorfleet.client import Client as Client
    from vectorfleet.columns import Json as Json
    from vectorfleet.errors import (
        AlreadyExists as AlreadyExists,
        DeadlineExceeded as DeadlineExceeded,
        FailedPrecondition as FailedPrecondition,
        FieldViolation as FieldViolation,
        ImportFailed as ImportFailed,
        InvalidArgument as InvalidArgument,
        LoadFailed as LoadFailed,
        NotFound as NotFound,
        PartFailure as PartFailure,
        PermissionDenied as PermissionDenied,
        ResourceExhausted as ResourceExhausted,
        ScanLost as ScanLost,
        ServerError as ServerError,
        SourceError as SourceError,
        Unauthenticated as Unauthenticated,
        Unavailable as Unavailable,
        VectorFleetError as VectorFleetError,
        WriteFailed as WriteFailed,
    )
    from vectorfleet.readers import (
        Batch as Batch,
        Source as Source,
        from_arrays as from_arrays,
        open_source as open_source,
    )
    from vectorfleet.retry import RetryPolicy as RetryPolicy
    from vectorfleet.schema import (
        CollectionSchema as CollectionSchema,
        FieldSchema as FieldSchema,
        FieldType as FieldType,
        IndexType as IndexType,
        KeyType as KeyType,
        Metric as Metric,
        Quantization as Quantization,
        VectorSchema as VectorSchema,
    )
    from vectorfleet.session import Session as Session
    from vectorfleet.topology import ConsistencyLevel as ConsistencyLevel
    from vectorfleet.values import (
        CollectionInfo as CollectionInfo,
        Group as Group,
        Hit as Hit,
        ImportResult as ImportResult,
        LoadResult as LoadResult,
        ReplicaInfo as ReplicaInfo,
        Row as Row,
        SearchResult as SearchResult,
        ShardInfo as ShardInfo,
        WriteResult as WriteResult,
    )

_HOMES = {
    "aio": "AsyncClient",
    "client": "Client",
    "columns": "Json",
    "errors": (
        "AlreadyExists DeadlineExceeded FailedPrecondition FieldViolation ImportFailed InvalidArgument "
        "LoadFailed NotFound PartFailure PermissionDenied ResourceExhausted ScanLost ServerError SourceError "
        "Unauthenticated Unavailable VectorFleetError WriteFailed"
    ),
    "readers": "Batch Source from_arrays open_source",
    "retry": "RetryPolicy",
    "schema": "CollectionSchema FieldSchema FieldType IndexType KeyType Metric Quantization VectorSchema",
    "session": "Session",
    "topology": "ConsistencyLevel",
    "values": "CollectionInfo Group Hit ImportResult LoadResult ReplicaInfo Row SearchResult ShardInfo WriteResult",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'vectorfleet' has no attribute {name!r}")
    return getattr(import_module(f"vectorfleet.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
