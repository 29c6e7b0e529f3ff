"""Makes sure that nobody serves a collection and holds its claim while it is repaired. Used by `repair`.

A claim that was not released is watched until its holder would have renewed it several times; nodes that start
meanwhile find the claim taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import Claim
from vectorfleet_node.shard.settings import Clock
from vectorfleet_node.storage.claims import ClaimedByOther, ClaimKeeper, Held, Waiting, newest_claim
from vectorfleet_node.storage.store import StorageError, Store

_LOOK_SECONDS: Final = 2.0


@asynccontextmanager
async def held(
    store: Store,
    schema: CollectionSchema,
    name: str,
    *,
    clock: Clock,
    sleep: Callable[[float], Awaitable[None]],
    watching: Callable[[Claim], None],
) -> AsyncIterator[None]:
    """Holds the claim as `name` inside. watching: told whose claim is being watched, when that takes time.

    ClaimedByOther when the holder renews its claim; any StorageError.
    """
    claim = Claim(cluster="none", namespace="fsck", name=name)
    keeper = ClaimKeeper(store, claim, schema, monotonic=clock.monotonic, wall=clock.wall)
    watched = 0
    while not isinstance(state := await keeper.step(), Held):
        newest = await newest_claim(store)
        number = newest[0] if newest else 0
        if newest and watched and number != watched and not newest[1].released:
            raise ClaimedByOther(newest[1].holder)
        if not watched and isinstance(state, Waiting) and state.holder:
            watching(state.holder)
        watched = number
        await sleep(_LOOK_SECONDS)
    renewing = asyncio.create_task(_renew(keeper, sleep))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await keeper.release()


async def _renew(keeper: ClaimKeeper, sleep: Callable[[float], Awaitable[None]]) -> None:
    while True:
        await sleep(_LOOK_SECONDS)
        with suppress(StorageError):  # the claim outlives several failed looks; whoever took it finds fences in the log
            await keeper.step()
