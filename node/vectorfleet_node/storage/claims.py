"""Which VectorCollection may serve the data at a URL: numbered claims, the newest counts.

Every node of a fleet runs one `ClaimKeeper` with the same claim; the API layer calls `step` every second or two. A
claim keeps a second fleet from serving the same data; it is not what keeps the data whole: the log's fences do that.
So a rare moment of two holders is harmless. Listings must catch up well within CLAIM_EXPIRY_SECONDS.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydantic import ValidationError

from vectorfleet.descriptor import CLAIM_EXPIRY_SECONDS, CLAIM_RENEW_SECONDS, CLAIMS_PREFIX, ClaimRecord
from vectorfleet.schema import CollectionSchema
from vectorfleet.topology import Claim
from vectorfleet_node.storage import paths
from vectorfleet_node.storage.evolution import extended
from vectorfleet_node.storage.store import DataLoss, StorageError, Store, StoreUnavailable

KEPT: Final = 8  # newest claims that are not deleted
_RELEASE_ATTEMPTS: Final = 5


class ClaimedByOther(StorageError):
    """Another VectorCollection holds the data."""

    def __init__(self, holder: Claim) -> None:
        super().__init__(f"the data is claimed by {holder}")
        self.holder = holder


@dataclass(frozen=True)
class Waiting:
    """Another holds the data; it will be claimed once released or no longer renewed. None: nothing is known yet."""

    holder: Claim | None


@dataclass(frozen=True)
class Held:
    """This fleet may serve the data."""


@dataclass(frozen=True)
class Lost:
    """This fleet held the data until `holder` took it. Final: serve no more; a new keeper may wait for it again."""

    holder: Claim


@dataclass(frozen=True)
class Released:
    """This fleet gave the data up. Final for this keeper; one that starts later may claim it again."""


State = Waiting | Held | Lost | Released


@dataclass(frozen=True)
class Observed:
    """The newest claim. since: when this keeper first saw it, by its own monotonic clock."""

    number: int
    record: ClaimRecord
    since: float


class Move(Enum):
    """What a keeper does next."""

    CLAIM = "claim"
    RENEW = "renew"
    REST = "rest"


def decide(
    claim: Claim, schema: CollectionSchema, state: State, newest: Observed | None, first: int, now: float
) -> tuple[State, Move]:
    """The next state and move of a keeper that is in `state` and sees `newest`; pure.

    first: number of the newest claim when the keeper started (0: none), so that a release before it does not bind it.
    """
    if isinstance(state, Lost | Released):
        return state, Move.REST
    if newest is None:
        return state, Move.CLAIM
    record, age = newest.record, now - newest.since
    if record.holder != claim:
        if isinstance(state, Held):
            return Lost(record.holder), Move.REST
        free = record.released or age >= CLAIM_EXPIRY_SECONDS
        return Waiting(record.holder), Move.CLAIM if free else Move.REST
    if record.released:
        return (state, Move.CLAIM) if newest.number <= first else (Released(), Move.REST)
    grown = len(extended(record.collection, schema).fields) > len(record.collection.fields)
    return Held(), Move.RENEW if grown or age >= CLAIM_RENEW_SECONDS else Move.REST


async def newest_claim(store: Store) -> tuple[int, ClaimRecord] | None:
    """Number and contents of the newest claim, or None when there never was one.

    DataLoss when it cannot be read; StoreUnavailable when the listing names only claims that are gone.
    """
    numbers = [paths.number_of(key) for key in await store.list(CLAIMS_PREFIX)]
    listed = max((number for number in numbers if number is not None), default=0)
    number, found = listed, await _read(store, listed) if listed else None
    # A listing may lag: claims have no gaps, so what follows is found by name.
    while (following := await _read(store, number + 1)) is not None:
        number, found = number + 1, following
    if found is None:
        if listed:
            raise StoreUnavailable(f"{paths.claim(listed)} is listed and cannot be read: the listing lags")
        return None
    return number, found


async def _read(store: Store, number: int) -> ClaimRecord | None:
    key = paths.claim(number)
    data = await store.get(key)
    if data is None:
        return None
    try:
        return ClaimRecord.model_validate_json(data)
    except ValidationError as error:
        raise DataLoss(f"{key} cannot be read: {error.errors()[0]['msg']}") from None


class ClaimKeeper:
    """Gets, renews and gives up one fleet's claim, one node's part of it."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        schema: CollectionSchema,
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """schema: as `adopt_or_create` returned it. wall: seconds since the epoch, written for humans only."""
        self._store = store
        self._claim = claim
        self._schema = schema
        self._monotonic = monotonic
        self._wall = wall
        self._newest: Observed | None = None
        self._first: int | None = None
        self._state: State = Waiting(None)

    @property
    def state(self) -> State:
        """As of the last step."""
        return self._state

    def extend(self, schema: CollectionSchema) -> None:
        """The schema has grown: the next step writes it into a claim, for those who adopt the data later."""
        self._schema = extended(self._schema, schema)

    async def step(self) -> State:
        """Looks, and claims or renews when it is time. A StorageError leaves the state as it is."""
        await self._observe()
        if self._decide() is not Move.REST:
            await self._add(released=False)
            # What was created may not be the newest: a stalled writer wins the name of a claim deleted long ago.
            await self._observe()
            self._decide()
        return self._state

    async def release(self) -> None:
        """Gives the data up for the whole fleet, if it holds it. StoreUnavailable when that could not be written."""
        for _ in range(_RELEASE_ATTEMPTS):
            await self._observe()
            newest = self._newest
            if newest is None or newest.record.holder != self._claim or newest.record.released:
                self._state = Released()
                return
            await self._add(released=True)
        raise StoreUnavailable(f"the claim of {self._claim} could not be released: others keep renewing it")

    def _decide(self) -> Move:
        first = self._first or 0
        self._state, move = decide(self._claim, self._schema, self._state, self._newest, first, self._monotonic())
        return move

    async def _observe(self) -> None:
        found = await newest_claim(self._store)
        number, record = found or (0, None)
        if self._first is None:
            self._first = number
        if record is not None and (self._newest is None or number > self._newest.number):
            self._newest = Observed(number, record, self._monotonic())

    async def _add(self, *, released: bool) -> None:
        number, schema = 1, self._schema
        if self._newest is not None:
            number, schema = self._newest.number + 1, extended(self._newest.record.collection, self._schema)
        record = ClaimRecord(holder=self._claim, released=released, collection=schema, stamp=self._wall())
        if await self._store.create(paths.claim(number), record.model_dump_json().encode()):
            with suppress(StorageError):  # tidying; the next one tries again
                await self._tidy(number - KEPT)

    async def _tidy(self, last: int) -> None:
        if last > 0:
            for key in await self._store.list(CLAIMS_PREFIX):
                if key <= paths.claim(last):
                    await self._store.delete(key)
