"""Readers at every consistency level, and a keeper of pins who reads pinned positions again and again."""

from __future__ import annotations

import asyncio

from vectorfleet_node.shard.port import Behind, InDoubt, ShardError
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.shard.view import ShardView
from vectorfleet_node.storage.record import Pin
from vectorfleet_node.storage.store import StorageError

from .nodes import Node
from .users import NoAnswer, Users, no_damage
from .violation import Violation


async def reader(users: Users) -> None:
    """Reads until the users' time is over."""
    while not users.over:
        node = users.random.choice(users.nodes)
        kind = users.random.choice([_read_strong, _read_strong, _read_session, _read_bounded, _read_now])
        try:
            await kind(users, node)
        except NoAnswer:
            pass
        except (ShardError, StorageError) as error:
            no_damage(error)
        await users.pause(0.6)


async def _read_strong(users: Users, node: Node) -> None:
    oracle = users.oracle
    needed = max(oracle.acked, oracle.read)

    async def read(replica: ShardReplica) -> ShardView:
        await replica.make_strong()
        return replica.view()

    view = await users.call(node, read)
    oracle.check(view, needed, f"a strong read of {node.name}")
    oracle.read = max(oracle.read, view.position)


async def _read_session(users: Users, node: Node) -> None:
    oracle = users.oracle
    beyond = users.random.random() < 0.1
    token = oracle.ledger.tail + 100 if beyond else users.random.randint(0, oracle.acked)

    async def read(replica: ShardReplica) -> ShardView:
        await replica.wait_for(token)
        return replica.view()

    try:
        view = await users.call(node, read)
    except Behind:
        if not beyond:
            raise Violation(f"{node.name} denies position {token}, which was acknowledged") from None
        users.events["session beyond the tail refused"] += 1
        return
    oracle.check(view, token, f"a session's read of {node.name}")


async def _read_bounded(users: Users, node: Node) -> None:
    staleness = users.random.random() * 3
    needed = users.oracle.acked_by(asyncio.get_running_loop().time() - staleness)

    async def read(replica: ShardReplica) -> ShardView:
        await replica.make_fresh(staleness)
        return replica.view()

    view = await users.call(node, read)
    users.oracle.check(view, needed, f"a read of {node.name} that may be {staleness:.1f} s old")


async def _read_now(users: Users, node: Node) -> None:
    async def read(replica: ShardReplica) -> ShardView:
        return replica.view()

    view = await users.call(node, read)
    await users.pause(0.5)  # a view stays what it is
    users.oracle.check(view, 0, f"a read of {node.name}")


async def pinner(users: Users) -> None:
    """Pins, reads what is pinned, unpins."""
    pins: dict[str, Pin] = {}
    number = 0
    while not users.over:
        await users.pause(2.0)
        try:
            if len(pins) < 2 and users.random.random() < 0.6:
                number += 1
                await _pin(users, f"pin-{number}", pins)
            elif pins and users.random.random() < 0.6:
                await _read_pinned(users, users.random.choice(users.nodes), users.random.choice(list(pins.values())))
            elif pins:
                name = users.random.choice(list(pins))
                del pins[name]
                await users.call(users.any_node(), lambda replica, name=name: replica.unpin(name))  # type: ignore[misc]
        except NoAnswer:
            pass
        except (ShardError, StorageError) as error:
            no_damage(error)


async def _pin(users: Users, name: str, pins: dict[str, Pin]) -> None:
    acked = users.oracle.acked
    try:
        pin = await users.call(users.any_node(), lambda replica: replica.pin(name))
    except (NoAnswer, InDoubt):
        return
    if users.oracle.ledger.pins.get(name) != (pin.manifest, pin.through):
        raise Violation(f"{pin} was granted; the log has {users.oracle.ledger.pins.get(name)}")
    if pin.through < acked:
        raise Violation(f"{pin} does not keep position {acked}, which was acknowledged before")
    pins[name] = pin


async def _read_pinned(users: Users, node: Node, pin: Pin) -> None:
    view = await users.call(node, lambda _: node.read_at(pin.manifest, pin.through))
    if view.position != pin.through:
        raise Violation(f"{pin} shows position {view.position}")
    users.oracle.check(view, 0, f"{pin}")
    users.events["pinned position read"] += 1
