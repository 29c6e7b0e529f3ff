"""Processes as /proc shows them: what a server and its children used, and on which cores they run. Linux only."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cores:
    """Where a server runs and where its client does. apart: whether they share none."""

    server: tuple[int, ...]
    client: tuple[int, ...]

    @property
    def apart(self) -> bool:
        """Whether no core is shared."""
        return not set(self.server) & set(self.client)


def split(count: int = 1, allowed: Iterable[int] | None = None) -> Cores:
    """`count` cores for the server, the others for the client; the last one is shared when none is left.

    ValueError when there are fewer than `count`.
    """
    cores = tuple(sorted(os.sched_getaffinity(0) if allowed is None else allowed))
    if not 0 < count <= len(cores):
        raise ValueError(f"{count} cores are wanted for the server and this process may use {len(cores)}")
    return Cores(cores[:count], cores[count:] or cores[-1:])


@contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """What is started within inherits these cores: thread pools are sized by them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):  # it ended meanwhile
                found += map(int, children.read_text().split())
    return found


def pin(pids: Iterable[int], cores: Sequence[int]) -> None:
    """Moves every thread of these processes; a thread that is started later inherits it."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)


def cpu(pids: Iterable[int], *, ended: bool = False) -> float:
    """Seconds of CPU that they have used, in user and in kernel mode; in steps of 0.01.

    ended: and what their children used that have ended.
    """
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11 : 15 if ended else 13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pids: Iterable[int]) -> dict[str, int]:
    """Bytes: `resident`, a page that n processes share being 1/n in each; `anonymous` of it, with no file behind."""
    sums = {"Pss": 0, "Pss_Anon": 0}
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, value = line.split(":")
                if name in sums:
                    sums[name] += int(value.split()[0]) * 1024
    return {"resident": sums["Pss"], "anonymous": sums["Pss_Anon"]}


def free_port() -> int:
    """A TCP port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
