"""Proves that a store honours create-if-absent, on which everything rests. Called when a node opens a store."""

from __future__ import annotations

import asyncio
import secrets  # noqa: TID251 - names that decide nothing
from contextlib import suppress

from vectorfleet_node.storage.store import StorageError, Store, StoreUnavailable, UnsafeStore

PROBE_PREFIX = "probe/"
_RIVALS = 4


async def probe(store: Store) -> None:
    """Returns when of rival creates of one object at most one was accepted, and a later one changed nothing.

    UnsafeStore when not; any other StorageError when the store did not let that be found out. Several may run at once.
    """
    key = f"{PROBE_PREFIX}{secrets.token_hex(16)}"
    try:
        await _prove(store, key)
    finally:
        with suppress(StorageError):  # a leftover is harmless, and must not hide what was found
            await store.delete(key)


async def _prove(store: Store, key: str) -> None:
    bodies = [secrets.token_bytes(32) for _ in range(_RIVALS)]
    accepted = await asyncio.gather(*(store.create(key, body) for body in bodies))
    winners = [body for body, created in zip(bodies, accepted, strict=True) if created]
    present = await store.get(key)
    if present is None and not winners:
        raise StoreUnavailable(f"{key} could not be created: the store did not decide")
    if len(winners) > 1:
        raise UnsafeStore(f"the store accepted {len(winners)} of {_RIVALS} simultaneous creates of one object")
    if present not in bodies or (winners and present != winners[0]):
        raise UnsafeStore(f"{key} was created and then not found as written")
    created_again = await store.create(key, secrets.token_bytes(32))
    if created_again or await store.get(key) != present:
        raise UnsafeStore("the store overwrites existing objects although create-if-absent was asked for")
