"""The topology in use: from a file at start, from the operator's push after, never back to an older one.

The file is looked at again because kubelet refreshes it, and a push may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
from pydantic import ValidationError

from vectorfleet.topology import CollectionTopology, Topology
from vectorfleet_node import logs
from vectorfleet_node.api.errors import ApiError, invalid

_LOOK_AGAIN_SECONDS = 2.0


class TopologyHolder:
    """The newest topology seen; `on_change` is called with each that replaces another."""

    def __init__(self, on_change: Callable[[Topology], None]) -> None:
        self._on_change = on_change
        self._current: Topology | None = None
        self.problem = "no topology has been read yet"

    @property
    def current(self) -> Topology | None:
        """The topology in use, None before the first."""
        return self._current

    def offer(self, topology: Topology) -> bool:
        """Uses `topology` unless it is older than the present one; tells whether it is the one in use now."""
        if self._current is not None and topology.order < self._current.order:
            return False
        if topology != self._current:
            self._current = topology
            self.problem = ""
            self._on_change(topology)
        return True

    def push(self, body: bytes) -> None:
        """A topology as JSON from the operator. ApiError when it is broken or older than the present one."""
        try:
            topology = Topology.model_validate_json(body)
        except ValidationError as error:
            raise invalid("topology", f"is not a topology: {error.errors()[0]['msg']}") from None
        if not self.offer(topology):
            current = self._current.order if self._current else ()
            message = f"topology (fence, version) {topology.order} is older than {current}, which is in use"
            raise ApiError(grpc.StatusCode.FAILED_PRECONDITION, message)

    def read(self, path: Path) -> None:
        """Offers what the file says; a missing or broken file is told in `problem` and changes nothing."""
        try:
            topology = Topology.model_validate_json(path.read_bytes())
        except OSError as error:
            problem = f"the topology {path} cannot be read: {error.strerror}"
        except ValidationError as error:
            problem = f"the topology {path} is broken: {error.errors()[0]['msg']}"
        else:
            self.offer(topology)
            problem = ""
        if problem and problem != self.problem:
            logs.logger().warning("topology", problem=problem)
        if problem and self._current is None:
            self.problem = problem

    async def follow(self, path: Path) -> None:
        """Reads the file again and again, for ever."""
        while True:
            self.read(path)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def addresses(self) -> dict[str, str]:
        """Peer address of each node by name."""
        return {node.name: node.peer for node in self._current.nodes} if self._current else {}

    def collection(self, name: str) -> CollectionTopology:
        """A collection by name. NOT_FOUND, with the names that exist, for another one."""
        collections = self._current.collections if self._current else ()
        for collection in collections:
            if collection.name == name:
                return collection
        if self._current is None:
            raise ApiError(grpc.StatusCode.UNAVAILABLE, self.problem)
        known = ", ".join(sorted(collection.name for collection in collections)) or "none"
        raise ApiError(grpc.StatusCode.NOT_FOUND, f"no collection {name!r} here; collections: {known}")
