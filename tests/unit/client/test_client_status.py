"""What ended a stream is what the other side said, whatever gRPC adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from vectorfleet.status import Ending

OWN = (grpc.StatusCode.INTERNAL, "Internal error from Core")
SAID = (grpc.StatusCode.INVALID_ARGUMENT, "rows[3] is wrong")


class Call:
    """A call that is told its status more than once."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], None]] = []
        self._status = OWN

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self, status: tuple[grpc.StatusCode, str]) -> grpc.aio.AioRpcError:
        self._status = status
        for callback in self._callbacks:
            callback(self)
        return grpc.aio.AioRpcError(status[0], grpc.aio.Metadata(), grpc.aio.Metadata(), status[1])

    async def code(self) -> grpc.StatusCode:
        return self._status[0]

    async def details(self) -> str:
        return self._status[1]

    async def trailing_metadata(self) -> Any:
        return grpc.aio.Metadata(("a", "b"))


@pytest.mark.parametrize("order", [[OWN, SAID], [SAID, OWN], [SAID]])
async def test_what_the_other_side_said_is_told_in_whatever_order_it_comes(order: list[Any]) -> None:
    call = Call()
    ending = Ending(call)
    failures = [call.end(status) for status in order]
    told = await ending.of(failures[-1])
    assert (told.code(), told.details()) == SAID
    assert list(told.trailing_metadata()) == [("a", "b")]


async def test_an_internal_error_of_the_other_side_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vectorfleet.status._PATIENCE_SECONDS", 0.01)
    call = Call()
    ending = Ending(call)
    failure = call.end((grpc.StatusCode.INTERNAL, "a bug"))
    assert await ending.of(failure) is failure
