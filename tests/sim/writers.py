"""Writers: upserts, imports and deletes (some by filter) over a few keys, each with a request id, sent again to any
node until they are told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from vectorfleet_node.shard.batch import arrow_schema
from vectorfleet_node.shard.port import (
    DeletePart,
    InDoubt,
    NotApplied,
    Part,
    SelectPart,
    ShardError,
    TooOld,
    UpsertPart,
)
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.view import Key, ShardView
from vectorfleet_node.storage.store import StorageError

from .ledger import Row, Write
from .nodes import SCHEMA
from .users import NoAnswer, Users, no_damage

_KEYS: Final = [f"k{number}" for number in range(8)]
_ARROW: Final = arrow_schema(SCHEMA)


async def writer(users: Users, name: str) -> None:
    """Writes until the users' time is over. The floor is the newest position known before the first attempt."""
    known, number = 0, 0
    while not users.over:
        number += 1
        request = some_write(users.random, f"{name}.{number}")
        floor = known if users.random.random() < 0.9 else 0
        attempts = users.random.randint(1, 5) + 2 * request.imported
        known = max(known, await write(users, request, floor, attempts) or 0)
        await users.pause(0.15 if users.random.random() < 0.9 else 3.0)


def some_write(source: random.Random, request_id: str) -> Write:
    """Upserts, or deletes, of a few of the keys, or a delete of what matches."""
    keys = source.sample(_KEYS, source.randint(1, 4))
    if source.random() < 0.3:
        if len(keys) == 1:
            return Write(request_id, below=float(source.randint(2, 6)))
        return Write(request_id, deletes=tuple(keys))
    rows = (Row(key, f"{request_id}:{key}", (float(source.randint(1, 9)), float(source.randint(1, 9)))) for key in keys)
    return Write(request_id, rows=tuple(rows), imported=source.random() < 0.25)


async def write(users: Users, request: Write, floor: int, attempts: int) -> int | None:
    """Sends a write until it is acknowledged or the attempts are used up; its position, None: unknown or refused."""
    users.oracle.sending(request)
    sender = _Sender(users, request, floor)
    for attempt in range(attempts):
        if attempt:
            patient = 0.8 if request.imported else 0.3  # an import takes longer until it is in the log
            await users.pause(8.0 if sender.doubt and users.random.random() < patient else 0.6)
        again = users.random.random() < 0.05
        if again:
            users.events["write sent twice at once"] += 1
            twin = users.spawn(sender.attempt())
        position = await sender.attempt()
        if again:
            position = await twin or position
        if position is not None or sender.too_old:
            break
    if not (sender.position or sender.doubt):
        users.oracle.refused(request.request_id)
    return sender.position


class _Sender:
    """One write's attempts. doubt: one of them may still land."""

    def __init__(self, users: Users, request: Write, floor: int) -> None:
        self.position: int | None = None
        self.doubt = False
        self.too_old = False
        self._users = users
        self._request = request
        self._floor = floor
        self._part = _part_of(request)
        self._kind = "import" if request.imported else "write"

    async def attempt(self) -> int | None:
        """The write's position when it was acknowledged."""
        users, request_id = self._users, self._request.request_id
        landed_before = request_id in users.oracle.ledger.landed
        patience = users.random.choice([0.0, 1.0])
        # Often shorter than an import takes: it goes on, and the next attempt finds it under way or in the log.
        deadline = users.random.choice([0.3, 5.0, 20.0] if not self._request.imported else [0.2, 0.4, 5.0, 20.0])
        try:
            position = await users.call(users.any_node(), partial(self._send, patience), deadline)
        except (NoAnswer, InDoubt):
            users.events[f"{self._kind} in doubt"] += 1
            self.doubt = True
        except TooOld:
            users.events["too old"] += 1
            self.too_old = True
        except NotApplied:
            users.events[f"{self._kind} told not applied"] += 1
        except (ShardError, StorageError) as error:
            no_damage(error)
        else:
            users.events[f"{self._kind} that a retry found in the log"] += landed_before
            users.events["import"] += self._request.imported
            users.oracle.ack(request_id, position, asyncio.get_running_loop().time())
            self.position = position
        return self.position

    async def _send(self, patience: float, replica: ShardReplica) -> int:
        request_id = self._request.request_id
        if isinstance(self._part, UpsertPart) and self._request.imported:
            return await replica.import_rows(request_id, self._floor, _in_pieces(self._part), patience)
        return await replica.append(request_id, self._floor, self._part, patience)


async def _in_pieces(part: UpsertPart) -> AsyncIterator[pa.RecordBatch]:
    """The rows in two batches, as if they came over a network."""
    for piece in (part.rows[:1], part.rows[1:]):
        await asyncio.sleep(0.001)
        yield piece


def _part_of(request: Write) -> Part:
    if request.below is not None:
        return SelectPart(partial(_below, request.below))
    if request.deletes:
        return DeletePart(request.deletes)
    columns = {
        "key": [row.key for row in request.rows],
        "vector.default": [list(row.vector) for row in request.rows],
        "field.value": [row.value for row in request.rows],
    }
    return UpsertPart(pa.RecordBatch.from_pydict(columns, schema=_ARROW))


def _below(threshold: float, view: ShardView, limit: int) -> list[Key]:
    """The keys of rows whose vector begins below the threshold."""
    found: list[Key] = []
    for block in view.blocks:
        matching = np.flatnonzero(block.live & (block.vectors["default"][:, 0] < threshold))
        found += block.rows.column("key").take(pa.array(matching)).to_pylist()
    return found[:limit]
