"""Iterators over all rows that match a filter, for `Client.scan` and `AsyncClient.scan`.

`Pages` is the pure half: which call comes next, and what its reply means. A page is asked for again with the same
cursor when it failed, so a retry repeats no row and skips none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from vectorfleet import replies
from vectorfleet.calls import Call
from vectorfleet.errors import InvalidArgument, VectorFleetError
from vectorfleet.session import Session
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.values import Row

MAX_PAGE = 16_384


class Pages:
    """Where a scan stands. `request`: of the first page."""

    def __init__(self, session: Session, request: pb.ScanRequest) -> None:
        if not 1 <= request.page_size <= MAX_PAGE:
            raise InvalidArgument(f"page_size is {request.page_size}; expected 1 to {MAX_PAGE}")
        self.resumed = False
        self._session = session
        self._request = request
        self._over = False

    def following(self) -> Call[list[Row]] | None:
        """The call for the next page; None when there are no more rows."""
        return None if self._over else self._call(self._take)

    def closing(self) -> Call[None] | None:
        """The call that lets go of the view; None when none is held."""
        if self._over or not self._request.cursor:
            return None
        self._over, self._request.close = True, True
        return self._call(lambda _: None)

    def _call(self, finish: Callable[[list[Any]], Any]) -> Call[Any]:
        return Call("Scan", (self._request,), finish, self._request.collection, self._session)

    def _take(self, responses: Sequence[pb.ScanResponse]) -> list[Row]:
        (response,) = responses
        self._request.cursor = response.cursor
        self._over = not response.cursor
        self.resumed = self.resumed or response.resumed
        return replies.rows(response.rows)


class _Scanning:
    """What both kinds of iterator hold. run: makes a call; the asynchronous one awaits it."""

    def __init__(self, pages: Pages, run: Callable[[Call[Any]], Any]) -> None:
        self._pages = pages
        self._run = run
        self._rows: deque[Row] = deque()

    @property
    def resumed(self) -> bool:
        """Whether a view was lost and the scan went on at a newer position (only with `resume=True`)."""
        return self._pages.resumed


class Scan(_Scanning, Iterator[Row]):
    """The rows, shard after shard, in the order of keys within each. A context manager that ends the scan early."""

    def __next__(self) -> Row:
        while not self._rows:
            call = self._pages.following()
            if call is None:
                raise StopIteration
            self._rows.extend(self._run(call))
        return self._rows.popleft()

    def close(self) -> None:
        """Lets the server forget the scan now, not after minutes; no rows come any more."""
        self._rows.clear()
        if (call := self._pages.closing()) is not None:
            with suppress(VectorFleetError):  # it forgets by itself
                self._run(call)

    def __enter__(self) -> Scan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncScan(_Scanning, AsyncIterator[Row]):
    """As `Scan`, for `async for` and `async with`."""

    async def __anext__(self) -> Row:
        while not self._rows:
            call = self._pages.following()
            if call is None:
                raise StopAsyncIteration
            self._rows.extend(await self._run(call))
        return self._rows.popleft()

    async def close(self) -> None:
        """See `Scan.close`."""
        self._rows.clear()
        if (call := self._pages.closing()) is not None:
            with suppress(VectorFleetError):
                await self._run(call)

    async def __aenter__(self) -> AsyncScan:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
