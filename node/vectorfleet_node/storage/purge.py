"""Deletes a collection's data, for `deletionPolicy: Delete`. Called by `vectorfleet-node purge` after the nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from vectorfleet.descriptor import CLAIM_EXPIRY_SECONDS, TOMBSTONE_OBJECT
from vectorfleet.topology import Claim
from vectorfleet_node.storage.claims import ClaimedByOther, newest_claim
from vectorfleet_node.storage.log import Sleep
from vectorfleet_node.storage.parallel import for_each
from vectorfleet_node.storage.store import Store, StoreUnavailable

_WATCH_SECONDS: Final = 2.0
_SWEEPS: Final = 10


async def purge(store: Store, claim: Claim, *, monotonic: Callable[[], float], sleep: Sleep) -> None:
    """Writes the tombstone, then deletes everything else until nothing else is left. May be run again at any point.

    ClaimedByOther when another VectorCollection than `claim` holds the data and renews its claim; to know that, a
    claim that was not released is watched for CLAIM_EXPIRY_SECONDS.
    """
    await _refuse_if_held(store, claim, monotonic, sleep)
    tombstone = json.dumps({"deletedBy": claim.model_dump()}).encode()
    if not await store.create(TOMBSTONE_OBJECT, tombstone) and await store.get(TOMBSTONE_OBJECT) is None:
        raise StoreUnavailable(f"{TOMBSTONE_OBJECT} could not be created: the store did not decide")
    clean = 0
    for _ in range(_SWEEPS):
        # Nodes that have not seen the tombstone may still write, and a listing may lag: twice nothing is nothing.
        clean = 0 if await _sweep(store) else clean + 1
        if clean == 2:
            return
        await sleep(_WATCH_SECONDS)
    raise StoreUnavailable("objects keep appearing while the collection is deleted: a node is still running")


async def _refuse_if_held(store: Store, claim: Claim, monotonic: Callable[[], float], sleep: Sleep) -> None:
    began, watched = monotonic(), 0
    while True:
        newest = await newest_claim(store)
        if newest is None:
            return
        number, record = newest
        if record.released or record.holder == claim:
            return
        if watched and number != watched:
            raise ClaimedByOther(record.holder)
        if monotonic() - began >= CLAIM_EXPIRY_SECONDS:
            return
        watched = number
        await sleep(_WATCH_SECONDS)


async def _sweep(store: Store) -> int:
    keys = [key for key in await store.list("") if key != TOMBSTONE_OBJECT]
    await for_each(keys, store.delete)
    return len(keys)
