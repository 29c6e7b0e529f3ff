"""One call of the user's as data: the requests it becomes, and the result made of their replies.

Pure: the clients (client.py, aio.py) only send what stands here. A call that is too big for one message becomes
several, built one at a time so that a large array is never copied whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vectorfleet.columns import unpack_keys
from vectorfleet.errors import WriteFailed
from vectorfleet.retry import Attempts
from vectorfleet.session import Session
from vectorfleet.v1 import vectorfleet_pb2 as pb

Result = TypeVar("Result")
MAX_REQUEST_BYTES = 16 << 20  # far below the 512 MiB that nodes accept: a retry repeats all of it


@dataclass(frozen=True)
class Call(Generic[Result]):
    """`method` of the service, sent once for each request; `finish` gets the replies in order."""

    method: str
    requests: Iterable[Any]
    finish: Callable[[list[Any]], Result]
    collection: str = ""
    session: Session | None = None
    request_id: str = ""  # of a write: the user's, of which each request's is made

    def received(self, reply: Any) -> None:
        """Remembers what a reply has seen, before anything else can fail."""
        if self.session is not None:
            self.session.merge(self.collection, reply.session)

    def judged(self, failure: Any, attempts: Attempts, request: Any) -> float:
        """Seconds to wait before the request is sent again; raises when it will not be, remembering what did land."""
        try:
            return attempts.pause(failure, self.request_id)
        except WriteFailed as error:
            error.name_keys(unpack_keys(request.keys if self.method == "Delete" else request.rows.keys))
            if self.session is not None:
                self.session.merge(self.collection, pb.SessionToken(uid=error.uid, positions=error.landed))
            raise


def split(build: Callable[[int, int], Any], rows: int, row_bytes: int, limit: int = 0) -> Iterator[Any]:
    """Messages for `rows` rows, of at most `limit` bytes (0: MAX_REQUEST_BYTES); `build(start, stop)` makes one.

    `row_bytes` is what a row has at least; where its text makes a message too big, that message is halved. One row is
    never split, and no rows are one empty message.
    """
    limit = limit or MAX_REQUEST_BYTES
    step = max(1, limit // max(1, row_bytes))
    for start in range(0, max(rows, 1), step):
        yield from _halved(build, start, min(start + step, rows), limit)


def _halved(build: Callable[[int, int], Any], start: int, stop: int, limit: int) -> Iterator[Any]:
    message = build(start, stop)
    if stop - start <= 1 or message.ByteSize() <= limit:
        yield message
        return
    middle = (start + stop) // 2
    yield from _halved(build, start, middle, limit)
    yield from _halved(build, middle, stop, limit)
