"""What keeps the bytes of one replica good: two scrubs look for rot, `healing` and `mending` do something about it.

`replica` makes one, runs its jobs, asks it before every answer, and tells what it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from vectorfleet_node.shard.cache import SegmentCache
from vectorfleet_node.shard.follower import Follower
from vectorfleet_node.shard.healing import Healer
from vectorfleet_node.shard.layout import Layout
from vectorfleet_node.shard.mending import Mender
from vectorfleet_node.shard.scrub import DiskCheck, Pace, Scrubber
from vectorfleet_node.shard.settings import Observer, ShardSettings
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.manifest import FileEntry


class Upkeep:
    """leads: whether the replica does. step_down: it must not any more. rewrite, publish: see `Mender`."""

    def __init__(
        self,
        cache: SegmentCache,
        follower: Follower,
        settings: ShardSettings,
        observer: Observer,
        sleep: Sleep,
        *,
        leads: Callable[[], bool],
        step_down: Callable[[], None],
        rewrite: Callable[[str], Awaitable[None]],
        publish: Callable[[], Awaitable[None]],
    ) -> None:
        self._cache = cache
        self._follower = follower
        self._leads = leads
        self._step_down = step_down
        self.healer = Healer(cache, lambda: follower.state, self._reload, sleep)
        self.mender = Mender(cache.key, self._layout, leads, rewrite, publish, sleep)
        make = partial(Scrubber, sleep=sleep, most=settings.scrub_rate)
        self._scrubbers = [
            make(
                files=self._local_files,
                check=DiskCheck(cache.folder, observer.scrubbed),
                period=settings.scrub_seconds,
                rotten=self.healer.found,
            ),
            make(
                files=self._stored_files,
                check=self._check_store,
                period=settings.scrub_store_seconds,
                rotten=self.mender.found,
            ),
        ]

    @property
    def sickness(self) -> str:
        """Why nothing is answered now; empty when that is not so."""
        return self.healer.message

    @property
    def message(self) -> str:
        """What is damaged and does no harm here; empty when nothing is."""
        return self.mender.message

    def require_health(self) -> None:
        """Rotten when a segment in use is known to be."""
        self.healer.require_health()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hears from now on what readers, in their threads, run into."""

        def read_rotten(file: str, problem: str) -> None:
            loop.call_soon_threadsafe(self.healer.found, file, problem)

        self._cache.read_rotten = read_rotten

    def jobs(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run for as long as the replica does."""
        yield self.healer.run()
        yield self.mender.run()
        for scrubber in self._scrubbers:
            if scrubber.period:
                yield scrubber.run()

    def _layout(self) -> Layout | None:
        return self._follower.state.layout if self._follower.loaded else None

    def _local_files(self) -> list[FileEntry]:
        layout = self._layout()
        return layout.local_files if layout else []

    def _stored_files(self) -> list[FileEntry]:
        layout = self._layout()
        return layout.stored_files if layout and self._leads() else []

    async def _check_store(self, file: FileEntry, pace: Pace) -> str:
        await pace(file.size)
        return await self._cache.check_store(file)

    async def _reload(self) -> None:
        """Segments in use are lost to this node: another may lead, and this one loads what else there is."""
        self._step_down()
        await self._follower.reload()
