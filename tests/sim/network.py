"""The way from a process to the store: requests and replies take time, get lost, come twice and come late.

Every request is decided by its fate, drawn when it is sent; what it does, it does when it arrives, perhaps long after
its sender was told that there was no answer, or after its sender died. Listings may lag, downloads may be damaged.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from vectorfleet_node.storage.store import DataLoss, StoreFull, StoreUnavailable

from .bucket import Bucket
from .loop import Process, SimulatedLoop, current_process
from .tracing import Trace

_CREATES: Final = ("create",)
_WRITES: Final = ("create", "put", "upload")


@dataclass(frozen=True)
class Faults:
    """Probabilities per request, and times in seconds."""

    lost_request: float = 0.02
    lost_reply: float = 0.02
    late: float = 0.04  # told that there is no answer; it arrives up to `lateness` later
    repeated: float = 0.06
    refused: float = 0.02  # 503
    conflict: float = 0.04  # 409: a create that neither happened nor necessarily finds something
    full: float = 0.006
    damaged: float = 0.03  # a download with a flipped bit, or cut short
    lagging: float = 0.25  # listings
    slow: float = 0.03
    latency: float = 0.015  # mean, one way
    patience: float = 4.0  # until a request without an answer fails
    lateness: float = 60.0
    orphaned: float = 0.3  # what a dead process had sent and does not arrive


CALM: Final = Faults(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Request:
    """One call of the store port. happen: does it, at the bucket."""

    kind: str
    key: str
    happen: Callable[[], Any]
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.kind} {self.key}" + (f" {crc32(self.body):08x}" if self.body else "")


class Network:
    """Carries requests. calls: how many so far. sending: told each request before it leaves; it may kill the sender."""

    def __init__(
        self, loop: SimulatedLoop, bucket: Bucket, source: random.Random, events: Counter[str], trace: Trace
    ) -> None:
        self.faults = Faults()
        self.calls = 0
        self.sending: Callable[[Process, Request], None] = lambda _sender, _request: None
        self._loop = loop
        self._bucket = bucket
        self._random = source.random
        self._events = events
        self._trace = trace
        self._context = loop.process("network").context
        self._away: dict[str, float] = {}  # name of a process, or "": all -> until when nothing gets through
        self._spared: set[str] = set()  # downloads that were damaged once: the store itself is sound

    def cut(self, name: str, seconds: float) -> None:
        """Nothing gets through for a while from one process, or, with an empty name, from any."""
        self._away[name] = self._loop.time() + seconds

    def mend(self) -> None:
        """Ends all faults."""
        self.faults = CALM
        self._away.clear()

    async def send(self, request: Request) -> Any:
        """The store's answer; StoreUnavailable or StoreFull."""
        await self.announce(request)
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._carry(current_process(), request, reply)
        return await reply

    async def announce(self, request: Request) -> None:
        """Counts a request. Returns when it can leave: later when its sender is paused just now, never when killed."""
        sender = current_process()
        self.calls += 1
        self.sending(sender, request)
        self._trace(sender.name, str(request))
        if sender.paused or not sender.alive:
            await asyncio.sleep(0)

    def damage(self, key: str, body: bytes) -> bytes:
        """A download's bytes as they arrive."""
        if not body or key in self._spared or self._random() >= self.faults.damaged:
            return body
        self._spared.add(key)
        at = int(self._random() * len(body))
        if self._random() < 0.5:
            self._events["short read of a download"] += 1
            return body[:at]
        self._events["bit flip in a download"] += 1
        return body[:at] + bytes([body[at] ^ 1 << int(self._random() * 8)]) + body[at + 1 :]

    def listing(self, prefix: str, after: str) -> list[str]:
        """Keys, perhaps of a moment ago."""
        if self._random() < self.faults.lagging:
            keys = self._bucket.keys_of_the_past(prefix, self._random() * 0.5)
            self._events["lagging list"] += keys != self._bucket.keys(prefix)
        else:
            keys = self._bucket.keys(prefix)
        return [key for key in keys if key > after]

    def _carry(self, sender: Process, request: Request, reply: asyncio.Future[Any]) -> None:
        fate, there = self._fate(request), self._latency()
        if fate:
            self._trace(sender.name, f"{request}: {fate}")
            self._count(fate, request)
        if fate in ("lost request", "late request", "lost reply"):
            self._tell(self.faults.patience * (0.5 + self._random()), reply, StoreUnavailable(f"{request}: no answer"))
        elif fate == "503":
            self._tell(there, reply, StoreUnavailable(f"{request}: 503"))
        elif fate == "store full":
            self._tell(there, reply, StoreFull(f"{request}: no room"))
        elif fate == "409":
            self._tell(there, reply, False)
        if fate == "late request":
            there += self._random() * self.faults.lateness
        if fate in ("late request", "lost reply"):
            self._later(there, self._arrive, sender, request, None)
        if fate in ("", "repeated request"):
            self._later(there, self._arrive, sender, request, reply)
        if fate == "repeated request":
            again = there + self._random() * self.faults.lateness
            self._later(again, self._arrive, sender, request, None)

    def _count(self, fate: str, request: Request) -> None:
        self._events[fate] += 1
        if request.kind == "create" and "/log/" in request.key:
            self._events[f"append: {fate}"] += 1

    def _fate(self, request: Request) -> str:
        faults, creates, writes = self.faults, request.kind in _CREATES, request.kind in _WRITES
        changes = writes or request.kind == "delete"
        drawn = self._random()
        for fate, share in (
            ("lost request", faults.lost_request),
            ("lost reply", faults.lost_reply),
            ("late request", faults.late if changes else 0.0),
            ("repeated request", faults.repeated if changes else 0.0),
            ("503", faults.refused),
            ("409", faults.conflict if creates else 0.0),
            ("store full", faults.full if writes else 0.0),
        ):
            if drawn < share:
                return fate
            drawn -= share
        return ""

    def _arrive(self, sender: Process, request: Request, reply: asyncio.Future[Any] | None) -> None:
        if not sender.alive and self._random() < self.faults.orphaned:
            return
        until = max(self._away.get("", 0.0), self._away.get(sender.name, 0.0))
        answer: Any
        if self._loop.time() < until:
            self._events["request in an outage"] += 1
            answer = StoreUnavailable(f"{request}: the store is away")
        else:
            self._trace("store", str(request))
            answer = request.happen()
        if reply is not None:
            self._tell(self._latency(), reply, answer)

    def _latency(self) -> float:
        slow = self._random() < self.faults.slow
        return self._random() * (3.0 if slow else 2 * self.faults.latency)

    def _tell(self, delay: float, reply: asyncio.Future[Any], answer: Any) -> None:
        self._later(delay, _settle, reply, answer)

    def _later(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        self._loop.call_later(delay, action, *args, context=self._context)


class NetworkStore:
    """The store port as a process has it."""

    def __init__(self, network: Network, bucket: Bucket) -> None:
        self._network = network
        self._bucket = bucket

    async def room(self) -> int | None:
        """See `Store.room`."""
        return None

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        happened: bool = await self._network.send(Request("create", key, lambda: self._bucket.create(key, body), body))
        return happened

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        body: bytes | None = await self._network.send(Request("get", key, lambda: self._bucket.get(key)))
        return body

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""
        listing: list[str] = await self._network.send(
            Request("list", prefix, lambda: self._network.listing(prefix, after))
        )
        return listing

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._network.send(Request("put", key, lambda: self._bucket.put(key, body), body))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._network.send(Request("delete", key, lambda: self._bucket.delete(key)))

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        body = await asyncio.to_thread(path.read_bytes)
        await self._network.send(Request("upload", key, lambda: self._bucket.put(key, body), body))

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        body: bytes | None = await self._network.send(Request("download", key, lambda: self._bucket.get(key)))
        if body is None:
            raise DataLoss(f"{key} is missing")
        temporary = path.with_name(f".{path.name}.part")
        half = len(body) // 2
        arrived = self._network.damage(key, body)
        await asyncio.to_thread(temporary.write_bytes, arrived[:half])  # a kill may come between
        await asyncio.to_thread(_finish, temporary, path, arrived)


def _finish(temporary: Path, path: Path, body: bytes) -> None:
    temporary.write_bytes(body)
    temporary.replace(path)


def _settle(reply: asyncio.Future[Any], answer: Any) -> None:
    if reply.done():
        return
    if isinstance(answer, Exception):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
