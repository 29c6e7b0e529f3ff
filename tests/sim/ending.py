"""What must come true once the faults have ended: progress, one state on all nodes, and no garbage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from vectorfleet_node.shard.port import ShardError
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.rowhash import to_hex
from vectorfleet_node.storage.store import StorageError

from .nodes import Node
from .users import NoAnswer, Users, take_over
from .violation import Violation
from .writers import some_write, write


async def progress(users: Users) -> None:
    """Somebody leads and acknowledges writes."""
    await _write_one(users)


async def converge(users: Users) -> None:
    """Every node is ready and has exactly the ledger's rows."""
    await _insist(users, lambda replica: replica.flush())
    for node in users.nodes:
        await converged(users, node)


async def converged(users: Users, node: Node) -> None:
    """Returns when the node has the ledger's last state. Violation when it has another."""
    oracle, ledger = users.oracle, users.oracle.ledger
    while True:
        needed = ledger.tail
        try:
            await users.call(node, lambda replica: replica.make_strong())
        except (NoAnswer, ShardError, StorageError):
            await asyncio.sleep(0.5)
            continue
        replica = node.replica
        assert replica is not None
        oracle.check(replica.view(), needed, f"{node.name} in the end")
        if replica.view().position == ledger.tail:
            break
    report = replica.report()
    if not report.ready or report.rows != len(ledger.states[-1]):
        raise Violation(f"{node.name} in the end, with {len(ledger.states[-1])} rows in the ledger: {report}")
    for segment in replica._follower.state.layout.segments:
        index, named = segment.indexes["default"], segment.entry.indexes["default"]
        if index.kind is not named.kind:
            raise Violation(
                f"{node.name} searches {index.kind} where its manifest names {named.file.name}, {named.kind}"
            )
    found, wanted = to_hex(replica._follower.state.row_hash), oracle.row_hash()
    if found != wanted:
        raise Violation(f"{node.name} has row hash {found} in the end; the ledger's is {wanted}")


async def collect_all(users: Users, manifests: int = 0) -> None:
    """With the pins gone and a few more manifests, the store has nothing that is not needed."""
    for name in list(users.oracle.ledger.pins):
        await _insist(users, lambda replica, name=name: replica.unpin(name))  # type: ignore[misc]
    number = 0
    while number < manifests or users.oracle.garbage():
        number += 1
        await _write_one(users)
        await _insist(users, lambda replica: replica.flush())
        await asyncio.sleep(2)


async def _elect(users: Users) -> None:
    """Somebody leads; a fence that comes late may depose whoever did."""
    while not any(node.up and node.leads for node in users.nodes):
        up = [node for node in users.nodes if node.up]
        await (take_over(users, users.random.choice(up)) if up else asyncio.sleep(0.5))


async def _write_one(users: Users) -> None:
    while True:
        await _elect(users)
        request = some_write(users.random, f"calm.{len(users.oracle.ledger.sent)}")
        if await write(users, request, users.oracle.ledger.tail, 1) is not None:
            return
        await asyncio.sleep(0.1)


async def _insist(users: Users, operation: Callable[[ShardReplica], Awaitable[object]]) -> None:
    """Does it on whoever leads."""
    while True:
        await _elect(users)
        try:
            await users.call(users.any_node(), operation, 60)
        except (NoAnswer, ShardError, StorageError):
            await asyncio.sleep(0.5)
        else:
            return
