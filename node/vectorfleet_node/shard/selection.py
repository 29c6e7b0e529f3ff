"""Deletes by filter on their way to the log. Made by `replica`, evaluated by `leadership` when their turn has come.

The log holds plain deletes of keys, so that every replica comes to the same state. The trap is the time between looking
and deleting: a row that is replaced in it by one that does not match must stay. So the keys are looked up when nothing
is under way before the record, and nothing else is sent until it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.port import DeletePart, SelectPart
from vectorfleet_node.shard.validation import request_of
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage.record import BatchRequest

_REMEMBERED: Final = 4096  # requests whose counts are known


@dataclass
class Selection:
    """One record's worth, of `limit` rows at most, of a delete by filter. found: its rows, once it was evaluated."""

    request_id: str
    part: SelectPart
    collection: CollectionSchema
    new_id: Callable[[], str]
    limit: int
    found: int = 0

    def evaluate(self, view: ShardView) -> tuple[BatchRequest, int]:
        """The request as the log stores it, and its size in bytes. Slow: call it in a thread.

        Only the record that takes all that is left carries the id of the caller's request: until it is in the log, a
        retry looks again.
        """
        keys = self.part.select(view, self.limit + 1)
        name = self.request_id if len(keys) <= self.limit else self.new_id()
        self.found = min(len(keys), self.limit)
        return request_of(name, DeletePart(tuple(keys[: self.limit])), self.collection)


class DeletedCounts:
    """How many rows the latest deletes by filter took away through this process, by request id."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, selection: Selection, landed: asyncio.Future[int]) -> None:
        """The selection's record has landed or it has not: what `landed` says, which is done."""
        if landed.cancelled() or landed.exception() is not None:
            return
        name = selection.request_id
        self._counts[name] = self._counts.pop(name, 0) + selection.found
        while len(self._counts) > _REMEMBERED:
            del self._counts[next(iter(self._counts))]

    def get(self, request_id: str) -> int | None:
        """The rows of all its records so far; None when there were none here."""
        return self._counts.get(request_id)
