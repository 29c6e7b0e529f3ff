"""What a leader takes from its clients: writes, deletes by filter and imports, each request once. Half of `replica`.

Every request passes the same three questions: does this process lead, does the log have the request already, is there
room for it. The trap is the time between them: after each wait the second question is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from functools import partial

import pyarrow as pa

from vectorfleet.schema import CollectionSchema
from vectorfleet_node.shard.admission import REQUEST_MEMORY, cost_of
from vectorfleet_node.shard.follower import Follower
from vectorfleet_node.shard.port import InDoubt, NotReady, Part, Rotten, SelectPart, ShardError, TooOld
from vectorfleet_node.shard.reign import Reign
from vectorfleet_node.shard.selection import DeletedCounts, Selection
from vectorfleet_node.shard.settings import Clock, ShardSettings
from vectorfleet_node.shard.sharing import landing
from vectorfleet_node.shard.validation import check_request_id, request_of
from vectorfleet_node.storage.store import StorageError


class Intake:
    """leading: the reign; NotLeader when there is none."""

    def __init__(
        self,
        collection: CollectionSchema,
        follower: Follower,
        leading: Callable[[], Reign],
        *,
        clock: Clock,
        new_id: Callable[[], str],
        settings: ShardSettings,
    ) -> None:
        self._collection = collection
        self._follower = follower
        self._leading = leading
        self._clock = clock
        self._new_id = new_id
        self._settings = settings
        self._deleted = DeletedCounts()

    async def append(self, request_id: str, floor: int, part: Part, patience: float) -> int:
        """See `Replica`. ValueError when the part does not fit the collection."""
        if isinstance(part, SelectPart):
            return await self._delete_selected(request_id, floor, part, patience)
        reign = self._ready_to_write()
        landed = self._find(reign, request_id, floor)
        if landed is None:
            request, size = request_of(request_id, part, self._collection)
            cost = cost_of(part, size)
            async with reign.leadership.admission.entering(cost, patience):
                # While it waited another attempt of the same request may have been let in.
                landed = self._find(reign, request_id, floor) or reign.leadership.submit(request, size, cost)
        return await landing(request_id, landed)

    async def import_rows(
        self, request_id: str, floor: int, rows: AsyncIterable[pa.RecordBatch], patience: float
    ) -> int:
        """See `Replica`."""
        check_request_id(request_id)
        reign = self._ready_to_write()
        find = partial(self._find, reign, request_id, floor)
        landed = find() or await reign.importer.begin(request_id, rows, patience, find)
        return await landing(request_id, landed)

    def stored(self, request_id: str, floor: int) -> int | None:
        """See `Replica`."""
        landed = self._find(self._ready_to_write(), request_id, floor)
        return landed.result() if landed is not None and landed.done() and not landed.exception() else None

    def deleted(self, request_id: str) -> int | None:
        """See `Replica`."""
        return self._deleted.get(request_id)

    async def _delete_selected(self, request_id: str, floor: int, part: SelectPart, patience: float) -> int:
        give_up = self._clock.monotonic() + patience
        begun = False
        while True:
            try:
                left = max(0.0, give_up - self._clock.monotonic())
                position = await self._delete_some(request_id, floor, part, left)
            except (ShardError, StorageError) as error:
                if begun and not isinstance(error, InDoubt):
                    # Whatever ended it says that nothing was done, which is true of the rest only.
                    raise InDoubt(
                        f"request {request_id} deleted rows and may not be done; send it again: {error}"
                    ) from None
                raise
            begun = True
            # Also when the reign ended while the record was on its way: it is in the log, and the state lacks it yet.
            if self._follower.state.requests.position(request_id) is not None:
                return position

    async def _delete_some(self, request_id: str, floor: int, part: SelectPart, patience: float) -> int:
        """One record's worth; its position."""
        reign = self._ready_to_write()
        landed = self._find(reign, request_id, floor)
        if landed is None:
            async with reign.leadership.admission.entering(REQUEST_MEMORY, patience):
                landed = self._find(reign, request_id, floor) or self._select(reign, request_id, part)
        try:
            return await landing(request_id, landed)
        except Rotten as error:
            raise NotReady(str(error)) from None  # the file is being replaced

    def _select(self, reign: Reign, request_id: str, part: SelectPart) -> asyncio.Future[int]:
        selection = Selection(request_id, part, self._collection, self._new_id, self._settings.delete_keys)
        landed = reign.leadership.select(selection, REQUEST_MEMORY)
        landed.add_done_callback(partial(self._deleted.add, selection))
        return landed

    def _ready_to_write(self) -> Reign:
        if self._follower.damage or not self._follower.loaded:
            raise NotReady(self._follower.message or "the shard is being loaded")
        return self._leading()

    def _find(self, reign: Reign, request_id: str, floor: int) -> asyncio.Future[int] | None:
        """The request's outcome, known or to come; None when it is new. TooOld when that cannot be told any more."""
        requests = self._follower.state.requests
        known = requests.position(request_id)
        if known is not None:
            landed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            landed.set_result(known)
            return landed
        under_way = reign.leadership.find(request_id)
        if under_way is None and floor < requests.low:
            raise TooOld(
                f"request {request_id} was first sent when the shard was at {floor} or later; ids up to position "
                f"{requests.low} are forgotten, so whether it was applied cannot be known"
            )
        return under_way
