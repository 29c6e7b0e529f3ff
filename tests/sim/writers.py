"""Writers: upserts and deletes over a few keys, each with a request id, sent again to any node until they are told."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pyarrow as pa

from vectorfleet_node.shard.batch import arrow_schema
from vectorfleet_node.shard.port import DeletePart, InDoubt, NotApplied, ShardError, TooOld, UpsertPart
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
        known = max(known, await write(users, request, floor, users.random.randint(1, 5)) or 0)
        await users.pause(0.15 if users.random.random() < 0.9 else 3.0)


def some_write(source: random.Random, request_id: str) -> Write:
    """Upserts, or deletes, of a few of the keys."""
    keys = source.sample(_KEYS, source.randint(1, 4))
    if source.random() < 0.3:
        return Write(request_id, deletes=tuple(keys))
    rows = (Row(key, f"{request_id}:{key}", (float(source.randint(1, 9)), float(source.randint(1, 9)))) for key in keys)
    return Write(request_id, rows=tuple(rows))


async def write(users: Users, request: Write, floor: int, attempts: int) -> int | None:
    """Sends a write until it is acknowledged or the attempts are used up; its position, None: unknown or refused."""
    users.oracle.sending(request)
    sender = _Sender(users, request, floor)
    for attempt in range(attempts):
        if attempt:
            await users.pause(8.0 if sender.doubt and users.random.random() < 0.3 else 0.6)
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

    async def attempt(self) -> int | None:
        """The write's position when it was acknowledged."""
        users, request_id = self._users, self._request.request_id
        landed_before = request_id in users.oracle.ledger.landed
        patience = users.random.choice([0.0, 1.0])
        deadline = users.random.choice([0.3, 5.0, 20.0])
        try:
            position = await users.call(
                users.any_node(),
                lambda replica: replica.append(request_id, self._floor, self._part, patience),
                deadline,
            )
        except (NoAnswer, InDoubt):
            users.events["write in doubt"] += 1
            self.doubt = True
        except TooOld:
            users.events["too old"] += 1
            self.too_old = True
        except NotApplied:
            users.events["write told not applied"] += 1
        except (ShardError, StorageError) as error:
            no_damage(error)
        else:
            users.events["retry that found its first attempt in the log"] += landed_before
            users.oracle.ack(request_id, position, asyncio.get_running_loop().time())
            self.position = position
        return self.position


def _part_of(request: Write) -> UpsertPart | DeletePart:
    if request.deletes:
        return DeletePart(request.deletes)
    columns = {
        "key": [row.key for row in request.rows],
        "vector.default": [list(row.vector) for row in request.rows],
        "field.value": [row.value for row in request.rows],
    }
    return UpsertPart(pa.RecordBatch.from_pydict(columns, schema=_ARROW))
