"""Workers on one store, killed, stopped and started by a test; everything they tell goes to the truth at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from tests.durability.truth import Truth
from tests.durability.worker import Plan
from tests.durability.zygote import Zygote

_DEADLINE = 90.0


class NotInTime(AssertionError):
    """A worker did not do what it has to within the deadline."""


@dataclass
class Process:
    """One worker. told: every message but those of single writes, newest last."""

    pid: int
    connection: Connection
    told: list[tuple[Any, ...]] = field(default_factory=list)
    gone: bool = False

    def order(self, *command: Any) -> None:
        """Tells it what to do; commands are done one after the other. A dead one hears nothing."""
        with suppress(OSError):
            self.connection.send(command)

    def signal(self, number: signal.Signals) -> None:
        """It is a child of the zygote that nobody has reaped yet, so its number is its own."""
        os.kill(self.pid, number)


class Campaign:
    """Use it as a context: at its end no worker is left."""

    def __init__(self, zygote: Zygote, truth: Truth, plan: Plan) -> None:
        self.truth = truth
        self.plan = plan
        self._zygote = zygote
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self._processes):
            self._end(process)

    def start(self, cache: Path | None = None) -> Process:
        """A new worker, with a cache folder of its own if it runs beside another."""
        plan = self.plan if cache is None else Plan(**{**vars(self.plan), "cache": cache})
        process = Process(*self._zygote.fork(plan))
        self._processes.append(process)
        return process

    def order_show(self, process: Process) -> None:
        """A strong read: what is acknowledged by now must be in it."""
        process.order("show", self.truth.oracle.acked)

    def hear(self, seconds: float) -> None:
        """Takes in what is told within a time, or comes first; also what has landed."""
        connections = {process.connection: process for process in self._processes if not process.gone}
        for connection in wait(list(connections), seconds):
            self._hear(connections[connection])  # type: ignore[index]
        self.truth.read_log()

    def listen(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        """Takes in what is told for a time, or until something is so."""
        deadline = time.monotonic() + seconds
        while not until() and (left := deadline - time.monotonic()) > 0:
            self.hear(min(left, 0.05))

    def listen_for_acks(self, more: int) -> None:
        """Until so many more writes are acknowledged. NotInTime."""
        counts = self.truth.counts
        enough = counts["acked"] + more
        self.listen(_DEADLINE, lambda: counts["acked"] >= enough)
        if counts["acked"] < enough:
            raise NotInTime(f"{enough - counts['acked']} of {more} writes were not acknowledged within {_DEADLINE} s")

    def expect(self, process: Process, *kinds: str, seconds: float = _DEADLINE) -> tuple[Any, ...]:
        """The next message of one of these kinds that has not been expected yet. NotInTime."""
        found: list[tuple[Any, ...]] = []

        def came() -> bool:
            found.extend(message for message in process.told if message[0] in kinds)
            return bool(found) or process.gone

        self.listen(seconds, came)
        if not found:
            state = "ended" if process.gone else "is alive"
            heard = [message[0] for message in process.told]
            raise NotInTime(
                f"worker {process.pid} {state} and did not tell {kinds} within {seconds} s; it told {heard}"
            )
        del process.told[: process.told.index(found[0]) + 1]
        return found[0]

    def kill(self, process: Process) -> None:
        """SIGKILL. What it had told before counts."""
        self.truth.counts["kills"] += 1
        self._end(process)
        self.truth.counts["ambiguous"] += len(self.truth.unknown)

    def _end(self, process: Process) -> None:
        process.signal(signal.SIGKILL)
        try:
            deadline = time.monotonic() + _DEADLINE
            while not process.gone and time.monotonic() < deadline:
                if process.connection.poll(0.05):
                    self._hear(process)
        finally:
            self._zygote.reap(process.pid)
            process.connection.close()
            self._processes.remove(process)

    def _hear(self, process: Process) -> None:
        try:
            message = process.connection.recv()
        except (EOFError, OSError):
            process.gone = True
            return
        self.truth.hear(*message)
        if message[0] not in ("sent", "acked", "not now"):
            process.told.append(message)
