"""Which replica of a shard answers a read: this node's own if it is ready, else the less busy of two ready ones.

A replica on a draining, silent or not-ready node is asked only when there is no other: what we know is up to a second
old, and a wrong guess costs a retry where a refusal would cost an answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from vectorfleet.topology import CollectionTopology
from vectorfleet_node.api.watch import PeerWatch

OwnReady = Callable[[str, int], bool]  # collection, shard


class Router:
    """Chooses among the replicas that the topology names."""

    def __init__(
        self,
        own_name: str,
        own_ready: OwnReady,
        watch: PeerWatch,
        in_flight: Mapping[str, int],
        addresses: Callable[[], dict[str, str]],
        rng: random.Random,
    ) -> None:
        self._own_name = own_name
        self._own_ready = own_ready
        self._watch = watch
        self._in_flight = in_flight
        self._addresses = addresses
        self._rng = rng

    def choose(self, collection: CollectionTopology, shard: int, excluded: set[str]) -> str | None:
        """The node to ask for `shard`; None when all that hold it are excluded."""
        placed = next((entry.replicas for entry in collection.shards if entry.id == shard), ())
        own = self._own_name
        if own in placed and own not in excluded and self._own_ready(collection.name, shard):
            return own
        if excluded.issuperset(placed):
            return None
        addresses = self._addresses()
        candidates = [node for node in placed if node not in excluded and (node in addresses or self._is_own(node))]
        good = [node for node in candidates if node != own and self._good(node, collection.name, shard)]
        pool = good or [node for node in candidates if not self._watch.silent(node)] or candidates
        if not pool:
            return None
        two = self._rng.sample(pool, min(2, len(pool)))
        return min(two, key=lambda node: self._in_flight.get(addresses.get(node, ""), 0))

    def _is_own(self, node: str) -> bool:
        return node == self._own_name

    def _good(self, node: str, collection: str, shard: int) -> bool:
        report = self._watch.report(node)
        state = self._watch.shard(node, collection, shard)
        return report is not None and not report.draining and state is not None and state.ready
