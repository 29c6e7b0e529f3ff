"""The gate in front of a leader's queue, on its own: the order in line, what it counts, and what it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from replicas import QUIET, TestClock, delete, upsert

from vectorfleet_node.shard.admission import Admission, Held, cost_of
from vectorfleet_node.shard.port import NotApplied, Overloaded
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.storage.store import StoreFull, StoreUnavailable

SETTINGS = replace(QUIET, growing_bytes=100, queue_bytes=60, undecided_limit=2.0, reserve_bytes=1000)
EMPTY = Held(0, 0, 0, 0.0)
NEVER = 1e9


@dataclass
class Gate:
    """An admission whose surroundings a test sets; what is let in adds to the growing bytes."""

    held: Held = EMPTY
    room: int | None = None
    settings: ShardSettings = SETTINGS
    refused: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    asked: int = 0  # how often for the room on the volume
    clock: TestClock = field(default_factory=TestClock)

    def __post_init__(self) -> None:
        self.over = asyncio.Event()
        observer = Observer(refused=self.refused.append)
        self.admission = Admission(
            3,
            lambda: self.held,
            self._room,
            settings=self.settings,
            clock=self.clock,
            sleep=self._sleep,
            observer=observer,
        )

    async def _room(self) -> int | None:
        self.asked += 1
        return self.room

    async def _sleep(self, seconds: float) -> None:
        if seconds == NEVER:
            await self.over.wait()

    def write(self, name: str, size: int, patience: float = NEVER) -> asyncio.Task[None]:
        return asyncio.create_task(self._write(name, size, patience))

    async def _write(self, name: str, size: int, patience: float) -> None:
        async with self.admission.entering(size, patience):
            self.entered.append(name)
            self.held = replace(self.held, growing=self.held.growing + size)

    def flush(self, size: int) -> None:
        self.held = replace(self.held, growing=self.held.growing - size)
        self.admission.pump()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_writes_enter_in_the_order_in_which_they_came_even_when_a_later_one_would_fit() -> None:
    gate = Gate(Held(90, 0, 0, 0))
    writes = [gate.write("large", 80), gate.write("small", 5), gate.write("tiny", 1)]
    await turns()
    assert gate.admission.waiting == 3
    gate.flush(60)
    await turns()
    assert gate.entered == []
    gate.flush(20)
    await turns()
    assert gate.entered == ["large", "small", "tiny"]
    await asyncio.gather(*writes)


async def test_what_was_let_in_counts_before_it_is_queued() -> None:
    gate = Gate(Held(100, 0, 0, 0))
    writes = [gate.write(str(number), 60) for number in range(5)]
    await turns()
    gate.flush(100)
    late = gate.write("late", 60)
    await turns()
    assert (gate.entered, gate.admission.waiting) == (["0"], 5)
    for task in (*writes, late):
        task.cancel()
    await asyncio.gather(*writes, late, return_exceptions=True)
    assert gate.admission.waiting == 0


async def test_who_gives_up_leaves_the_line_and_lets_the_next_in() -> None:
    gate = Gate(Held(90, 0, 0, 0))
    large, small = gate.write("large", 50), gate.write("small", 10)
    await turns()
    large.cancel()
    await turns()
    assert gate.entered == ["small"]
    await small


async def test_who_gives_up_in_the_very_moment_it_is_let_in_takes_nothing_with_it() -> None:
    gate = Gate(Held(100, 0, 0, 0))
    first, second = gate.write("first", 100), gate.write("second", 100)
    await turns()
    gate.flush(100)
    first.cancel()
    await turns()
    assert gate.entered == ["second"]
    await second


async def test_patience_that_ends_says_what_is_full_and_when_to_come_back() -> None:
    gate = Gate(Held(70, 10, 5, 0))
    with pytest.raises(
        Overloaded, match=r"shard 3 has 85 bytes .* of 100 allowed; 20 more .* nothing was sent"
    ) as told:
        await gate.write("one", 20, patience=0)
    assert told.value.retry_after == 1.0
    assert (gate.refused, gate.admission.waiting) == (["memory"], 0)


async def test_a_full_queue_is_told_from_full_memory() -> None:
    gate = Gate(Held(0, 50, 0, 0))
    with pytest.raises(Overloaded, match="50 bytes of writes waiting for the object store, of 60"):
        await gate.write("one", 20, patience=0)
    assert gate.refused == ["queue"]
    assert not gate.admission.wants_flush


async def test_a_store_that_decides_nothing_is_told_as_such_and_writes_enter_when_it_does() -> None:
    gate = Gate(Held(0, 0, 5, 2.5))
    with pytest.raises(StoreUnavailable, match=r"has not answered a write for 2.5 s; nothing was sent") as told:
        await gate.write("one", 20, patience=0)
    assert told.value.retry_after == 1.0
    waits = gate.write("two", 20)
    await turns()
    gate.held = EMPTY
    gate.admission.pump()
    await waits
    assert (gate.refused, gate.entered) == (["store"], ["two"])


async def test_a_write_larger_than_the_limit_passes_alone() -> None:
    gate = Gate(Held(1, 0, 0, 0))
    huge = gate.write("huge", 500)
    await turns()
    assert gate.admission.wants_flush
    gate.flush(1)
    await huge
    assert gate.entered == ["huge"]


async def test_a_reign_that_ends_turns_everybody_away_at_once() -> None:
    gate = Gate(Held(100, 0, 0, 0))
    writes = [gate.write(str(number), 10) for number in range(3)]
    await turns()
    gate.admission.end(lambda: NotApplied("over"))
    outcomes = await asyncio.gather(*writes, gate.write("late", 10), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotApplied] * 4
    assert gate.entered == []


async def test_the_last_bytes_of_a_volume_are_not_given_away() -> None:
    gate = Gate(Held(0, 30, 20, 0), room=1060)
    await gate.write("fits", 10)
    with pytest.raises(StoreFull, match=r"1060 bytes are free on the volume, 1000 are kept .* 50 for writes") as told:
        await gate.write("one too many", 11, patience=0)
    assert told.value.retry_after is not None
    gate.room = 1061
    await gate.write("fits again", 11)
    assert (gate.refused, gate.entered) == (["volume"], ["fits", "fits again"])


async def test_a_volume_is_asked_seldom_while_it_has_plenty_of_room_and_each_time_when_it_has_not() -> None:
    gate = Gate(room=1090)
    for number in range(8):
        await gate.write(f"quick {number}", 10)
    assert gate.asked == 1
    gate.clock.added += 1
    gate.room = 1010
    await gate.write("later", 10)
    assert gate.asked == 2
    gate.flush(90)
    for _ in range(3):
        with pytest.raises(StoreFull):
            await gate.write("too many", 11, patience=0)
    assert gate.asked == 5


async def test_two_writes_are_not_given_the_same_bytes_of_a_volume() -> None:
    gate = Gate(room=1015)
    looked = asyncio.Event()

    async def slow() -> int | None:
        await looked.wait()
        return gate.room

    gate.admission._room = slow
    writes = [gate.write(str(number), 10) for number in range(2)]
    await turns()
    looked.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(outcome, StoreFull) for outcome in outcomes) >= 1


def test_the_cost_of_a_write_is_at_least_what_its_rows_take(tmp_path: Path) -> None:
    part = upsert([f"k{number}" for number in range(10)])
    assert cost_of(part, 1000) >= 1000 + 10 * 256
    assert cost_of(delete("a", "b"), 20) >= 20 + 2 * 256
