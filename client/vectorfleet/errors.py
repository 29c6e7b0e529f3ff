"""Every error the client raises, and how one is made of a gRPC status and its details.

    VectorFleetError
    ├── InvalidArgument        the request is wrong; `violations` names the fields
    ├── NotFound               no such collection
    ├── AlreadyExists          a collection of that name with another schema
    ├── FailedPrecondition     the server is not in a state to do this (e.g. a session token of another collection)
    │   └── ScanLost           a scan's view is gone: begin anew, or scan with `resume=True`
    ├── Unauthenticated, PermissionDenied
    ├── ResourceExhausted      the server has no room, or the request is too large for it
    ├── DeadlineExceeded       no answer in time; of a write: its outcome is unknown
    ├── Unavailable            retries did not help; `missing_shards` as far as the server said
    │   └── WriteFailed        a write that did not land everywhere; `parts` names the keys, `landed` the rest
    ├── LoadFailed             a bulk load that stopped; `stored` rows of the source are safe
    ├── ImportFailed           an import that stopped; the same import again goes on
    ├── ServerError            anything else the server says; a bug or damaged data
    └── SourceError            a file that cannot be read as rows

Called by retry.py, which decides by the status what is tried again. The trap: a WriteFailed is what the user gets
whatever the status was; one that can never succeed (FAILED_PRECONDITION: the request id is too old) is not retried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from vectorfleet.partition import Key, shard_of
from vectorfleet.v1 import vectorfleet_pb2 as pb

MISSING_SHARDS = "SHARDS_UNAVAILABLE"  # reason of the ErrorInfo whose metadata["shards"] lists ids, comma-separated
SCAN_LOST = "SCAN_LOST"  # reason of the ErrorInfo when a scan's view is gone


class VectorFleetError(Exception):
    """Base of all errors of this package; `str()` is one sentence for a human.

    `retry_after`: seconds after which the server expects to have room again; None when it said nothing of the kind.
    """

    retry_after: float | None = None


class InvalidArgument(VectorFleetError, ValueError):
    """The request is wrong and will stay wrong."""

    def __init__(self, message: str, violations: Iterable[FieldViolation] = ()) -> None:
        super().__init__(message)
        self.violations = tuple(violations)


class NotFound(VectorFleetError):
    """The server knows no such collection."""


class AlreadyExists(VectorFleetError):
    """There is a collection of that name, and its schema is another one."""


class FailedPrecondition(VectorFleetError):
    """The request is well-formed, and the server is not in a state to do it."""


class ScanLost(FailedPrecondition):
    """The node that held the scan's view restarted, or the scan was idle for too long. `resume=True` goes on anyway."""


class Unauthenticated(VectorFleetError):
    """The server does not know who asks."""


class PermissionDenied(VectorFleetError):
    """The server knows who asks and refuses."""


class ResourceExhausted(VectorFleetError):
    """The server is over a limit, which the message names; with a `retry_after` the client has tried again in vain."""


class DeadlineExceeded(VectorFleetError, TimeoutError):
    """No answer within the timeout. The outcome of a write is unknown: repeat it with the same `request_id`."""


class Unavailable(VectorFleetError):
    """The server, or some shards of the collection, cannot answer now, and retrying until the deadline did not help."""

    def __init__(self, message: str, missing_shards: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.missing_shards = tuple(missing_shards)


class WriteFailed(Unavailable):
    """A write that did not land in every shard.

    `parts` names the keys whose outcome is "failed" or "unknown"; `landed` maps shard to log position for those that
    are stored. Repeating the call with the same `request_id` completes it without applying anything twice.
    """

    def __init__(
        self,
        message: str,
        parts: Iterable[PartFailure],
        landed: Mapping[int, int],
        request_id: str = "",
        uid: str = "",
        shards: int = 0,
    ) -> None:
        self.parts = tuple(parts)
        super().__init__(message, (part.shard for part in self.parts))
        self.landed = dict(landed)
        self.request_id = request_id
        self.uid = uid  # of the collection that `landed` is about
        self._shards = shards

    def name_keys(self, keys: Iterable[Key]) -> None:
        """Names every key of the failed parts, given those of the request: the server lists what a header holds."""
        if not self._shards:
            return
        by_shard: dict[int, list[Key]] = {}
        for key in keys:
            by_shard.setdefault(shard_of(key, self._shards), []).append(key)
        self.parts = tuple(replace(part, keys=tuple(by_shard.get(part.shard, part.keys))) for part in self.parts)


class LoadFailed(VectorFleetError):
    """A bulk load that stopped; its cause is `__cause__`. Go on with `load(..., skip=error.stored)`.

    `stored` counts the rows from the start of the source that are all stored; rows after them may be.
    """

    def __init__(self, message: str, stored: int) -> None:
        super().__init__(message)
        self.stored = stored


class ImportFailed(VectorFleetError):
    """An import that stopped; its cause is `__cause__`. The same import again goes on, from another process too.

    `stored` counts the rows of the source that are stored; parts that were under way may be stored as well.
    """

    def __init__(self, message: str, stored: int) -> None:
        super().__init__(message)
        self.stored = stored


class ServerError(VectorFleetError):
    """INTERNAL, DATA_LOSS, UNIMPLEMENTED and the like; `code` is the status' name."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class SourceError(VectorFleetError):
    """A file or array that cannot be read as rows; the message names file, row and what was expected."""


@dataclass(frozen=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    field: str
    description: str


@dataclass(frozen=True)
class PartFailure:
    """One shard's part of a write that did not land (outcome "failed") or may still land ("unknown")."""

    shard: int
    outcome: str
    keys: tuple[Key, ...]
    message: str


class Failure(Protocol):
    """What synchronous and asynchronous gRPC errors have in common."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Any: ...


_SIMPLE: dict[grpc.StatusCode, type[VectorFleetError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def from_status(failure: Failure, request_id: str = "") -> VectorFleetError:
    """The error for a failed call; `request_id` is that of the write, "" for reads."""
    details = _details(failure)
    error = _error(failure, details, request_id)
    error.retry_after = _retry_after(details)
    return error


def _error(failure: Failure, details: list[Any], request_id: str) -> VectorFleetError:
    message = failure.details() or failure.code().name
    for detail in details:
        if detail.Is(pb.WriteFailure.DESCRIPTOR):
            return _write_failed(message, _unpacked(detail, pb.WriteFailure()), request_id)
    code = failure.code()
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidArgument(message, _violations(details))
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED):
        return Unavailable(message, _missing_shards(details))
    if code is grpc.StatusCode.FAILED_PRECONDITION and SCAN_LOST in (info.reason for info in _infos(details)):
        return ScanLost(message)
    if code in _SIMPLE:
        return _SIMPLE[code](message)
    return ServerError(message, code.name)


def _details(failure: Failure) -> list[Any]:
    try:
        status = rpc_status.from_call(failure)
    except ValueError:  # a proxy rewrote code or message; what is left is still worth telling
        return []
    return list(status.details) if status is not None else []


def _unpacked(detail: Any, message: Any) -> Any:
    detail.Unpack(message)
    return message


def _violations(details: list[Any]) -> list[FieldViolation]:
    return [
        FieldViolation(violation.field, violation.description)
        for detail in details
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR)
        for violation in _unpacked(detail, error_details_pb2.BadRequest()).field_violations
    ]


def _infos(details: list[Any]) -> list[Any]:
    described = error_details_pb2.ErrorInfo.DESCRIPTOR
    return [_unpacked(detail, error_details_pb2.ErrorInfo()) for detail in details if detail.Is(described)]


def _missing_shards(details: list[Any]) -> list[int]:
    return [
        int(shard)
        for info in _infos(details)
        if info.reason == MISSING_SHARDS
        for shard in info.metadata["shards"].split(",")
        if shard.isdecimal()
    ]


def _retry_after(details: list[Any]) -> float | None:
    for detail in details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay: float = _unpacked(detail, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() / 1000
            return delay
    return None


def _write_failed(message: str, failure: Any, request_id: str) -> WriteFailed:
    outcomes = {pb.WriteFailure.FAILED: "failed"}
    parts = [
        PartFailure(
            part.shard,
            outcomes.get(part.outcome, "unknown"),
            tuple(part.keys.strings) or tuple(part.keys.ints),
            part.message,
        )
        for part in failure.parts
    ]
    return WriteFailed(message, parts, failure.landed.positions, request_id, failure.landed.uid, failure.shards)
