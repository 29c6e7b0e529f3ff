"""The callers of the shard in a simulation, all in one process that never dies: how they reach a node, and who leads.

Calls travel over a network of their own: they take time both ways and have a deadline, at which the caller goes away
and sometimes cancels what it asked for, as gRPC does.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from vectorfleet_node.shard.port import ShardError
from vectorfleet_node.shard.replica import ShardReplica
from vectorfleet_node.storage.store import DataLoss, StorageError

from .loop import SimulatedLoop
from .nodes import Node
from .oracle import Oracle
from .violation import Violation

Result = TypeVar("Result")


class NoAnswer(Exception):
    """The node did not answer in time, or is down."""


class Users:
    """What all callers share. over: set when they shall come to an end."""

    def __init__(
        self, loop: SimulatedLoop, nodes: Sequence[Node], oracle: Oracle, source: random.Random, events: Counter[str]
    ) -> None:
        self.over = False
        self.nodes = list(nodes)
        self.oracle = oracle
        self.random = source
        self.events = events
        self._loop = loop
        self._process = loop.process("users")

    def spawn(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Begins a task; what it raises ends the run at once."""
        task = self._loop.spawn(self._process, work)
        task.add_done_callback(_raise_error)
        return task

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """`spawn` for whoever does not wait for it."""
        self.spawn(work)

    async def pause(self, mean: float) -> None:
        """Between nothing and twice the mean, in seconds."""
        await asyncio.sleep(self.random.random() * 2 * mean)

    async def call(
        self, node: Node, operation: Callable[[ShardReplica], Awaitable[Result]], deadline: float = 10.0
    ) -> Result:
        """What the operation returns, or raises of the ports' errors, on the node; NoAnswer."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        await asyncio.sleep(self._latency())
        process = node.process
        if process is None:
            raise NoAnswer
        context = self._process.context

        def reply(outcome: object) -> None:
            self._loop.call_later(self._latency(), _settle, answer, outcome, context=context)

        asked = node.call(operation, reply)
        try:
            async with asyncio.timeout(deadline):
                return await answer  # type: ignore[no-any-return]
        except TimeoutError:
            if self.random.random() < 0.5 and process.alive:
                self.events["call cancelled by its deadline"] += 1
                self._loop.call_later(self._latency(), asked.cancel, context=process.context)
            raise NoAnswer from None

    def any_node(self) -> Node:
        """The node that leads, mostly."""
        leaders = [node for node in self.nodes if node.leads]
        return self.random.choice(leaders if leaders and self.random.random() < 0.9 else self.nodes)

    def _latency(self) -> float:
        return self.random.random() * 0.004


async def elector(users: Users) -> None:
    """Lets somebody take over whenever nobody leads, and now and then although somebody does."""
    while not users.over:
        await users.pause(0.5)
        up = [node for node in users.nodes if node.up]
        if up and (users.random.random() < 0.05 or not any(node.leads for node in up)):
            users.spawn(take_over(users, users.random.choice(up)))


async def take_over(users: Users, node: Node) -> None:
    """One attempt."""
    try:
        await users.call(node, lambda replica: replica.take_over())
        users.events["take-over"] += 1
    except (NoAnswer, ShardError):
        users.events["take-over that failed"] += 1
    except StorageError as error:
        no_damage(error)


def no_damage(error: Exception) -> None:
    """Violation when a node reports damage: in a simulation there is none."""
    if isinstance(error, DataLoss):
        raise Violation(f"a false alarm: {error}") from error


def _raise_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.result()


def _settle(answer: asyncio.Future[Any], outcome: object) -> None:
    if isinstance(outcome, Exception) and not isinstance(outcome, ShardError | StorageError):
        raise Violation(f"a node failed: {outcome!r}") from outcome
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
        answer.exception()  # whoever asked may be gone
    else:
        answer.set_result(outcome)
