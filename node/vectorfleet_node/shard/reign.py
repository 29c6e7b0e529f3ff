"""A reign: one leadership and its publisher, begun when the fence has landed and thrown away at its end."""

from __future__ import annotations

import asyncio

from vectorfleet_node.shard.leadership import Leadership
from vectorfleet_node.shard.publisher import Publisher
from vectorfleet_node.shard.sharing import observe_result


class Reign:
    """Runs both until `end`."""

    def __init__(self, leadership: Leadership, publisher: Publisher) -> None:
        self.leadership = leadership
        self.publisher = publisher
        self._sending = asyncio.create_task(leadership.run())
        self._publishing = asyncio.create_task(publisher.run())
        for task in (self._sending, self._publishing):
            task.add_done_callback(observe_result)

    def end(self) -> None:
        """Stops sealing and sending; a record under way goes on until its slot decides."""
        self.leadership.end()
        self._publishing.cancel()
        self.publisher.sealing.cancel()

    async def close(self) -> None:
        """Ends the tasks. What was under way and is undecided is in doubt."""
        self.end()
        self.leadership.abandon()
        self._sending.cancel()
        await asyncio.gather(self._sending, self._publishing, self.publisher.sealing.close(), return_exceptions=True)
