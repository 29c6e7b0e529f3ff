"""Keeps a shard's state up with its log, and its layout with the newest published manifest. Half of `replica`.

A replica follows always, also while it leads: then `replica` brings the records and this only polls and swaps layouts.
The trap is damage: a record that cannot be read stops everything behind it, is told, and is looked at again and again,
in case somebody repaired it; it is never skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from vectorfleet_node.shard.budget import CacheFull
from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.loader import Loader
from vectorfleet_node.shard.port import NotReady
from vectorfleet_node.shard.settings import Clock, ShardSettings
from vectorfleet_node.shard.sharing import SharedRun
from vectorfleet_node.shard.state import ShardState
from vectorfleet_node.storage.log import BEHIND, TAIL, Backoff, Entry, Log, Sleep
from vectorfleet_node.storage.record import Publish, UnknownRecord
from vectorfleet_node.storage.store import DataLoss, StorageError

_DAMAGED_PAUSE: Final = 5.0  # seconds between two looks at what could not be read
_FULL_PAUSE: Final = 5.0  # seconds between two tries to load what does not fit into this node's cache
_LOOK_BEYOND: Final = 60.0  # seconds between two looks for slots behind the tail
_ADOPT_BACKOFF: Final = Backoff(shortest=0.5, longest=30.0)


class Follower:
    """Holds the state once it is loaded.

    applied: told each record after it was applied, whoever brought it.
    settled: set when the first load has come to an end, good or bad.
    checked: monotonic time of *asking* the last question whose answer was that the state is at the tail.
    """

    def __init__(
        self,
        loader: Loader,
        log: Log,
        cache: SegmentCache,
        *,
        clock: Clock,
        sleep: Sleep,
        settings: ShardSettings,
        applied: Callable[[Entry], None],
    ) -> None:
        self.settled = asyncio.Event()
        self.checked = -float("inf")
        self.damage = ""
        self.adoption = SharedRun(self._adopt)
        self._state: ShardState | None = None
        self._trouble = ""
        self._complaints: dict[str, str] = {}
        self._look_again = clock.monotonic() + _LOOK_BEYOND
        self._loader = loader
        self._log = log
        self._cache = cache
        self._clock = clock
        self._sleep = sleep
        self._settings = settings
        self._applied = applied
        self._reading = asyncio.Lock()
        self._news = False
        self._wake = asyncio.Event()
        self._published = asyncio.Event()

    @property
    def loaded(self) -> bool:
        """Whether there is a state."""
        return self._state is not None

    @property
    def state(self) -> ShardState:
        """The newest state. NotReady before the first load has succeeded."""
        if self._state is None:
            raise NotReady(self.message or "the shard is being loaded")
        return self._state

    @property
    def message(self) -> str:
        """What is wrong, the worst first; empty when nothing is."""
        return self.damage or self._trouble or next(iter(self._complaints.values()), "") or self._loader.damage

    def complain(self, who: str, message: str) -> None:
        """Somebody tells what is wrong, or by an empty message that it is right again."""
        self._complaints.pop(who, None)
        if message:
            self._complaints[who] = message

    def wake(self) -> None:
        """Looks for records now, not at the next poll."""
        self._wake.set()

    def apply(self, entry: Entry) -> None:
        """Applies a record of the log unless it has been."""
        state = self.state
        if entry.record.position > state.position:
            state.apply(entry)
            self._applied(entry)
            if isinstance(entry.record.body, Publish):
                self._published.set()

    async def catch_up(self) -> None:
        """Applies records until the tail. Raises a StorageError; DataLoss for what cannot be read."""
        async with self._reading:
            while True:
                asked = self._clock.monotonic()
                found = await self._log.next_after(self.state.position, self.state.chain)
                if isinstance(found, Entry):
                    self._news = True
                    state = self.state
                    await self._make_room()
                    await self._open_imports(found)
                    if self.state is state:
                        self.apply(found)
                elif found is TAIL:
                    self.checked = max(self.checked, asked)
                    return
                elif found is BEHIND:
                    await self.load()

    async def _make_room(self) -> None:
        """Rows that a published manifest holds must not pile up in memory: it is adopted before any more are read.

        Twice what the leader may hold: a follower is behind by the manifest that is on its way to it. Raises what keeps
        it from adopting; the view stays where it is then, and is told so.
        """
        state, limit = self.state, 2 * self._settings.growing_bytes
        if state.layout.growing_bytes > limit and state.newest_published > state.layout.position:
            try:
                await self.adoption.join()
            except DataLoss:  # collected, most likely: there are newer ones, which the log behind this point names
                await self.load()

    async def _open_imports(self, entry: Entry) -> None:
        """Opens what the record imports; without it the view stays where it is, and is told so."""
        try:
            await self._loader.open_imports(self.state, entry.record)
        except DataLoss:  # collected, most likely: there is a newer manifest, which has the rows
            await self.load()

    async def load(self) -> None:
        """Loads the state anew."""
        self._state = await self._loader.load()
        self.damage = ""
        self._published.set()
        self.settled.set()

    async def reload(self) -> None:
        """Loads the state anew, while nothing else reads the log."""
        async with self._reading:
            await self.load()

    async def run(self, check: Callable[[], Awaitable[None]]) -> None:
        """Loads, then polls with `check` for ever: often while there are new records, seldom while there are none."""
        pause, failures = self._settings.poll, 0
        while True:
            try:
                await (check() if self.loaded else self.load())
                await self._look_beyond(check)
            except (DataLoss, UnknownRecord) as error:
                self.damage = str(error)
                self.settled.set()
                pause = _DAMAGED_PAUSE
            except CacheFull as error:
                self._trouble = str(error)
                self.settled.set()
                pause = _FULL_PAUSE
            except StorageError as error:
                self._trouble = f"the object store does not answer: {error}"
                pause = Backoff().pause(failures)
                failures += 1
            else:
                self.damage = self._trouble = ""
                failures = 0
                quiet = min(self._settings.poll_idle, 2 * pause)
                pause = self._settings.poll if self._news else quiet
                self._news = False
            await self._pause(pause)

    async def follow_manifests(self) -> None:
        """Swaps to the newest published manifest whenever there is a new one, for ever."""
        failures = 0
        while True:
            await self._published.wait()
            self._published.clear()
            try:
                await self.adoption.join()
            except StorageError as error:
                why = f"the newest manifest cannot be used, rows are served from what is loaded: {error}"
                self.complain("manifests", why)
                self._published.set()
                await self._sleep(_ADOPT_BACKOFF.pause(failures))
                failures += 1
            else:
                self.complain("manifests", "")
                failures = 0

    async def _adopt(self) -> None:
        """Swaps to the newest published manifest that can be had; raises what is wrong with the newest, if that is not.

        One that was collected while it was read is none that counts any more: there is a newer one then.
        """
        state, failed = self.state, dict[int, DataLoss]()
        while self._state is state:
            newer = [p for p in state.published if p > state.layout.position and p not in failed]
            if not newer:
                break
            position = max(newer)
            try:
                manifest = await self._loader.read_manifest(position, state.published[position])
                segments = await self._loader.open(manifest, state.layout.segments)
            except DataLoss as error:
                failed[position] = error
                continue
            if self._state is state and position > state.layout.position:
                state.install(manifest, segments)
                await self._cache.keep_only(manifest, state.layout.imported)
        if state.newest_published in failed:
            raise failed[state.newest_published]

    async def _look_beyond(self, check: Callable[[], Awaitable[None]]) -> None:
        """Now and then: a slot that vanished looks like the tail, but for the slots behind it."""
        if self._clock.monotonic() < self._look_again:
            return
        last = await self._log.last_listed(self.state.position)
        if last > self.state.position:
            await check()  # every listed slot was there before this
        if last > self.state.position:
            raise DataLoss(f"log record {self.state.position + 1} is missing, and record {last} is there")
        self._look_again = self._clock.monotonic() + _LOOK_BEYOND

    async def _pause(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._wake.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._wake.clear()
