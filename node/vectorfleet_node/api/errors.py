"""Exceptions and gRPC statuses, both ways.

Services raise `ApiError` or let the errors of shard and storage pass; the observing interceptor turns them into a
status with `status_of`. A caller of a peer gets the same exception back through `from_rpc`: an ErrorInfo detail
carries its name, because several of them share a code (what is UNAVAILABLE may or may not have been applied).
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from vectorfleet.v1 import peer_pb2
from vectorfleet_node.query.errors import InvalidQuery
from vectorfleet_node.shard import port
from vectorfleet_node.storage import store

DOMAIN = "vectorfleet.io"
Code = grpc.StatusCode

_SHARD_CODES: dict[type[Exception], grpc.StatusCode] = {
    port.NotApplied: Code.ABORTED,
    port.InDoubt: Code.UNAVAILABLE,
    port.TooOld: Code.FAILED_PRECONDITION,
    port.NotReady: Code.UNAVAILABLE,
    port.Overloaded: Code.RESOURCE_EXHAUSTED,
    port.Rotten: Code.UNAVAILABLE,
    port.Behind: Code.FAILED_PRECONDITION,
    port.TooNew: Code.FAILED_PRECONDITION,
    store.StoreUnavailable: Code.UNAVAILABLE,
    store.CredentialsMissing: Code.UNAVAILABLE,
    store.CredentialsRefused: Code.UNAVAILABLE,
    store.StoreNotFound: Code.UNAVAILABLE,
    store.StoreFull: Code.RESOURCE_EXHAUSTED,
    store.UnsafeStore: Code.FAILED_PRECONDITION,
    store.DataLoss: Code.DATA_LOSS,
    store.StorageError: Code.UNAVAILABLE,
}
_BY_NAME = {kind.__name__: kind for kind in _SHARD_CODES}


class ApiError(Exception):
    """An answer that is an error: a code, a sentence for a human, and details for programs.

    `row` tells which row of a write is wrong, from 0, where it is a row.
    """

    row: int | None = None

    def __init__(self, code: grpc.StatusCode, message: str, details: Iterable[Message] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)


class UnreachableError(Exception):
    """A node did not answer a call, or not as a node of this fleet; whether it did what was asked is unknown."""


def invalid(field: str, problem: str, row: int | None = None) -> ApiError:
    """INVALID_ARGUMENT that names the request's field; `problem` tells the value and what is allowed."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=problem)
    error = ApiError(
        Code.INVALID_ARGUMENT, f"{field}: {problem}", [error_details_pb2.BadRequest(field_violations=[violation])]
    )
    error.row = row
    return error


def violation_of(error: ApiError) -> tuple[str, str]:
    """The field that a refusal of `invalid` names, and its problem."""
    (detail,) = error.details
    assert isinstance(detail, error_details_pb2.BadRequest)
    (violation,) = detail.field_violations
    return violation.field, violation.description


def _pack(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def status_of(error: Exception) -> status_pb2.Status | None:
    """The status that answers `error`; None for one that only a bug raises."""
    if isinstance(error, ApiError):
        return _pack(error.code, error.message, error.details)
    if isinstance(error, port.NotLeader):
        return _pack(
            Code.FAILED_PRECONDITION, str(error), [peer_pb2.NotLeader(owner=error.owner, address=error.address)]
        )
    if isinstance(error, InvalidQuery):
        return status_of(invalid(error.field, error.message))
    if isinstance(error, UnreachableError):
        return _pack(Code.UNAVAILABLE, str(error), ())
    for kind in type(error).__mro__:
        if kind in _SHARD_CODES:
            return _pack(_SHARD_CODES[kind], str(error), hints(kind.__name__, retry_after(error)))
    return None


def retry_after(error: Exception) -> float | None:
    """Seconds until the same request makes sense again, when the error knows."""
    return error.retry_after if isinstance(error, port.Overloaded | store.StorageError) else None


def hints(reason: str, seconds: float | None) -> list[Message]:
    """Details for programs: why, and when to come back; each where it is known."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)] if reason else []
    if seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * seconds))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The gRPC code of a status message."""
    return next(code for code in Code if code.value[0] == status.code)


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The rich status of a failed call, None when it has none or a broken one."""
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return None
    return status if isinstance(status, status_pb2.Status) else None


def from_rpc(error: grpc.aio.AioRpcError, address: str) -> Exception:
    """The exception that a peer's failed call stands for."""
    message = error.details() or error.code().name
    status = details_of(error)
    found: Exception | None = None
    seconds: float | None = None
    for detail in status.details if status else ():
        leader, info, retry = peer_pb2.NotLeader(), error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(leader):
            return port.NotLeader(leader.owner, leader.address)
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in _BY_NAME:
            found = _BY_NAME[info.reason](message)
        if detail.Unpack(retry):
            seconds = retry.retry_delay.ToMilliseconds() / 1000
    if isinstance(found, port.Overloaded | store.StorageError):
        found.retry_after = seconds
    if found is not None:
        return found
    if error.code() in (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION):
        return ApiError(error.code(), message)
    return UnreachableError(f"node at {address} did not answer: {error.code().name}: {message}")
