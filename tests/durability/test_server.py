"""`vectorfleet serve`, killed with SIGKILL while clients write through the SDK: acknowledged writes are there."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.durability.child import Child
from tests.durability.gateway import HOST, free_port
from vectorfleet import Client
from vectorfleet.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from vectorfleet.partition import shard_of

KILLS = 4
WRITERS = 4
KEYS = 30
SHARDS = 2
NAME = "words"
ACKS_BETWEEN_KILLS = 25
_DEADLINE = 60.0


class Server:
    """The program; it can be killed and started again on its folder and port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self._port}"

    def start(self) -> None:
        program = Path(sys.executable).with_name("vectorfleet")
        log = self._folder.with_name("server.log")
        served = log.read_text().count("is serving") if log.exists() else 0
        command = [str(program), "serve", "--data", str(self._folder), "--port", str(self._port)]
        self._child = Child(command, log, {"COLUMNS": "1000"})
        self._child.wait_until(lambda: log.read_text().count("is serving") > served)

    def kill(self) -> None:
        self._child.kill()


class Writer(threading.Thread):
    """Rewrites its keys, all at once, with one number after the other. acked: the newest that was acknowledged."""

    def __init__(self, address: str, number: int) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.keys = [f"{number}/{key}" for key in range(KEYS)]
        self.acked = 0
        self.unanswered = 0
        self.problem: Exception | None = None
        self.ending = threading.Event()
        self._number = number
        self._address = address

    def run(self) -> None:
        try:
            with Client(self._address) as client:
                while not self.ending.is_set():
                    self._write(client, self.acked + 1)
                    self.acked += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the test has to tell it
            self.problem = error

    def _write(self, client: Client, number: int) -> None:
        vectors = np.full((KEYS, 4), number, np.float32)
        deadline = time.monotonic() + _DEADLINE
        while True:
            try:
                client.upsert(
                    NAME,
                    self.keys,
                    vectors,
                    fields={"number": [number] * KEYS},
                    request_id=f"{self._number}:{number}",
                    timeout=5,
                )
            except (Unavailable, DeadlineExceeded, ResourceExhausted):
                self.unanswered += 1
                if time.monotonic() > deadline:
                    raise
            else:
                return


def check(client: Client, writer: Writer) -> None:
    """Every key has a number that is not older than the acknowledged, and in a shard all have the same."""
    acked = writer.acked
    rows = client.get(NAME, writer.keys, consistency="Strong", include_vectors=True, timeout=20)
    if acked:
        assert len(rows) == KEYS
    by_shard: dict[int, set[int]] = {}
    for row in rows:
        number = int(row.fields["number"])
        assert number >= acked, f"{row.key} is at {number}; {acked} was acknowledged"
        assert np.array_equal(np.asarray(row.vectors["default"]), np.full(4, number, np.float32))
        by_shard.setdefault(shard_of(row.key, SHARDS), set()).add(number)
    assert all(len(numbers) == 1 for numbers in by_shard.values()), f"half a batch is visible: {by_shard}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data")
    try:
        yield started
    finally:
        started.kill()


@contextmanager
def writing(address: str) -> Iterator[list[Writer]]:
    writers = [Writer(address, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.ending.set()


def wait_for_acks(writers: list[Writer], more: int) -> None:
    enough = sum(writer.acked for writer in writers) + more
    deadline = time.monotonic() + _DEADLINE
    while sum(writer.acked for writer in writers) < enough:
        for writer in writers:
            assert writer.problem is None, f"{writer.name}: {writer.problem!r}"
        assert time.monotonic() < deadline, "writes do not go on"
        time.sleep(0.005)


def test_acknowledged_writes_survive_the_death_of_the_server(server: Server, record_property: object) -> None:
    with Client(server.address) as client:
        client.create_collection(NAME, 4, fields={"number": "Int64"}, shards=SHARDS)
        with writing(server.address) as writers:
            for _ in range(KILLS):
                wait_for_acks(writers, ACKS_BETWEEN_KILLS)
                server.kill()
                server.start()
                for writer in writers:
                    check(client, writer)
            wait_for_acks(writers, ACKS_BETWEEN_KILLS)
        for writer in writers:
            writer.join(_DEADLINE)
            assert writer.problem is None
            check(client, writer)
    record_property("durability kills", KILLS)  # type: ignore[operator]
    record_property("durability acked", sum(writer.acked for writer in writers))  # type: ignore[operator]
    record_property("durability calls that failed", sum(writer.unanswered for writer in writers))  # type: ignore[operator]
