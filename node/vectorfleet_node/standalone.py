"""One node without Kubernetes and without a bucket: `vectorfleet serve --data ./data`. The CLI calls `serve`.

Every collection is a folder below the data folder, found at start by its collection.json, made by CreateCollection. The
topology lives in memory; the one node leads every shard. A lock on the folder keeps a second server away. Everything
else in the folder begins with a dot.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from pydantic import ValidationError

from vectorfleet.descriptor import COLLECTION_OBJECT, CollectionDescriptor
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, KeyType, VectorSchema
from vectorfleet.topology import (
    Claim,
    CollectionTopology,
    NodeAddress,
    ShardPlacement,
    StorageLocation,
    Topology,
)
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet_node import logs
from vectorfleet_node.api.assembly import Assembly
from vectorfleet_node.api.auth import PeerSecret
from vectorfleet_node.api.errors import ApiError, invalid
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.server import NodeServer, Ports
from vectorfleet_node.api.supervision import Identity
from vectorfleet_node.serving import finish, stop_signal

NODE = "local"
CACHE = ".cache"  # a copy of the segments in use: what rots in one of the two is taken from the other
_ADDRESS = "local"  # nobody calls it: every shard is here
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_OPEN_SECONDS = 20.0
_LOOK_SECONDS = 0.01


class DataFolderInUse(OSError):
    """Another server uses the data folder; the message names both."""


class BrokenCollection(OSError):
    """A folder below the data folder cannot be read; the message says why."""


def topology_of(data: Path, name: str, schema: CollectionSchema, uid: str = "") -> CollectionTopology:
    """A collection below the data folder, all of its shards on this node."""
    return CollectionTopology(
        name=name,
        uid=uid,
        claim=Claim(cluster="local", namespace="local", name=name),
        storage=StorageLocation(url=(data / name).absolute().as_uri()),
        collection=schema,
        shards=tuple(ShardPlacement(id=shard, replicas=(NODE,)) for shard in range(schema.shards)),
    )


def discover(data: Path) -> list[CollectionTopology]:
    """The collections below the data folder, by name. BrokenCollection when one of them cannot be read."""
    found = []
    for path in sorted(data.glob(f"*/{COLLECTION_OBJECT}")):
        try:
            descriptor = CollectionDescriptor.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise BrokenCollection(f"{path} cannot be read: {error.errors()[0]['msg']}") from None
        found.append(topology_of(data, path.parent.name, descriptor.collection, descriptor.uid))
    return found


def schema_of(request: pb.CreateCollectionRequest) -> CollectionSchema:
    """The schema that a request asks for. ApiError INVALID_ARGUMENT when it is none."""
    for field in request.fields:
        if field.indexed and field.type == FieldType.JSON:
            raise invalid("fields.indexed", f"{field.name} is Json and cannot be indexed; add a field of its own")
    try:
        return CollectionSchema(
            key=KeyType(request.key_type or KeyType.STRING),
            vectors=tuple(
                VectorSchema.model_validate(
                    {
                        "name": vector.name or "default",
                        "dimensions": vector.dimensions,
                        **({"metric": vector.metric} if vector.metric else {}),
                        **({"index": vector.index} if vector.index else {}),
                        **({"quantization": vector.quantization} if vector.quantization else {}),
                    }
                )
                for vector in request.vectors
            ),
            fields=tuple(
                FieldSchema.model_validate({"name": field.name, "type": field.type, "indexed": field.indexed})
                for field in request.fields
            ),
            shards=request.shards or 1,
        )
    except ValidationError as error:
        problem = error.errors()[0]
        named = ".".join(str(part) for part in problem["loc"]) or "vectors"
        raise invalid(named, f"is {problem['input']!r}: {problem['msg']}") from None
    except ValueError:
        raise invalid("key_type", f"is {request.key_type!r}; allowed are {', '.join(KeyType)}") from None


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Holds the data folder, made if it is absent. DataFolderInUse when another server has it."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise DataFolderInUse(f"{data} is in use by {holder}: stop it, or choose another folder") from None
        lock.truncate(0)
        lock.write(f"vectorfleet serve, process {os.getpid()}")
        lock.flush()
        yield


def _forget_others(cache: Path, uids: set[str]) -> None:
    """Removes what is kept of collections whose folders are gone. What begins with a dot is of all collections."""
    for path in cache.glob("*"):
        if path.name not in uids and not path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)


class Standalone:
    """The collections of one data folder and the node that serves them."""

    def __init__(self, data: Path, node: Node) -> None:
        self._data = data
        self._node = node
        self._creating = asyncio.Lock()
        self._use(tuple(discover(data)))

    def _use(self, collections: tuple[CollectionTopology, ...]) -> None:
        before = self._node.topology.current
        version = before.version + 1 if before else 1
        self._node.topology.offer(
            Topology(version=version, nodes=(NodeAddress(name=NODE, peer=_ADDRESS),), collections=collections)
        )

    async def create(self, request: pb.CreateCollectionRequest) -> CollectionTopology:
        """Makes a collection and returns when it answers. ALREADY_EXISTS when there is another one of that name."""
        if not _NAME.fullmatch(request.name):
            allowed = "lower-case letters, digits and dashes, a letter first, at most 63 characters"
            raise invalid("name", f"is {request.name!r}; allowed are {allowed}")
        schema = schema_of(request)
        async with self._creating:
            topology = self._node.topology.current
            present = topology.collections if topology else ()
            found = next((entry for entry in present if entry.name == request.name), None)
            if found is None:
                found = topology_of(self._data, request.name, schema)
                self._use((*present, found))
            elif found.collection != schema:
                differences = "; ".join(found.collection.differences(schema)) or "its fields or indexes differ"
                message = f"collection {request.name!r} exists with another schema: {differences}"
                raise ApiError(grpc.StatusCode.ALREADY_EXISTS, message)
        await self._opened(found)
        return found

    async def _opened(self, collection: CollectionTopology) -> None:
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                while not self._answers(collection):  # noqa: ASYNC110 - what it waits for is spread over many replicas
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            reasons = "; ".join(self._node.waiting()) or "its shards have no leader yet"
            message = f"collection {collection.name!r} is not open after {_OPEN_SECONDS:.0f} s: {reasons}"
            raise ApiError(grpc.StatusCode.UNAVAILABLE, message) from None

    def _answers(self, collection: CollectionTopology) -> bool:
        replicas = [self._node.replica(collection.name, shard.id) for shard in collection.shards]
        return all(replica is not None and replica.report().ready and replica.leads for replica in replicas)

    async def opened(self) -> None:
        """Returns when every collection answers, or the time for that is up; what is wrong is logged."""
        topology = self._node.topology.current
        for collection in topology.collections if topology else ():
            try:
                await self._opened(collection)
            except ApiError as error:
                logs.logger().error("collection does not open", problem=error.message)


async def serve(
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7300,
    http_port: int | None = None,
    fronts: int = 0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serves the collections below `data` until SIGINT or SIGTERM.

    Args:
        data: the folder; made if it is absent.
        host, port: where to listen; port 0 lets the system choose.
        http_port: of /metrics, /healthz and /readyz; None: not served.
        fronts: processes that serve `port` for this one; 0: this one does.
        on_ready: called with `host:port` once every collection answers.

    Raises:
        DataFolderInUse, BrokenCollection, PortTaken: each an OSError with a message for a human.
    """
    logs.configure("warning", NODE)
    with locked(data):
        told = stop_signal()
        secret = PeerSecret(data / ".no-peers")
        identity = Identity(NODE, secrets.token_hex(16))
        await asyncio.to_thread(_forget_others, data / CACHE, {entry.uid for entry in discover(data)})
        node, metrics = Assembly(identity, data / CACHE, secret, dict).build()
        alone = Standalone(data, node)
        server = NodeServer(node, metrics, secret, alone.create, fronts)
        ports = await server.start(Ports(host, port, None, http_port))
        node.start()
        opening = asyncio.create_task(alone.opened())
        stopping = asyncio.create_task(told.wait())
        await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
        opening.cancel()
        if on_ready is not None and not told.is_set():
            on_ready(f"{host}:{ports.api}")
        await stopping
        await finish(node, server, 0.0)
