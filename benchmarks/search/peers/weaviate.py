"""Weaviate's server, built from its Go module, asked over gRPC. It runs in the product's environment.

No client library fits our locked gRPC: the messages are compiled from the protocol files of the module that was built.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import grpc

from benchmarks.search import processes
from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, Ask
from benchmarks.search.peers.wire import Wired

_CLASS: Final = "Bench"  # classes begin with a capital letter
_BATCH: Final = 1000
_STARTED: Final = 120.0  # seconds
_PORTS: Final = (
    "CLUSTER_GOSSIP_BIND_PORT", "CLUSTER_DATA_BIND_PORT", "RAFT_PORT", "RAFT_INTERNAL_RPC_PORT", "PROFILING_PORT",
)  # fmt: skip


def compiled(protocol: Path, out: Path) -> tuple[Any, Any]:
    """The messages of searches and of batches, made from the .proto files below `protocol` into `out`, and imported."""
    sources = [str(path.relative_to(protocol)) for path in protocol.glob("v1/*.proto")]
    includes = [f"-I{protocol}", f"-I{files('grpc_tools') / '_proto'}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, f"--python_out={out}", *sources]
    subprocess.run(command, check=True)
    sys.path.insert(0, str(out))
    return importlib.import_module("v1.search_get_pb2"), importlib.import_module("v1.batch_pb2")


class Weaviate(Wired):
    """See `Peer`. Its effort is ef, which is the class's and no request's. Options: see `remote.built`."""

    method = "/weaviate.v1.Weaviate/Search"

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        self.log = self.folder / "log"
        self._search, self._batch = compiled(Path(self.options["module"]) / "grpc" / "proto", self.folder)
        await asyncio.to_thread(self._run)
        await asyncio.to_thread(self._fill, rows)

    def _run(self) -> None:
        port, self.address = processes.free_port(), f"127.0.0.1:{processes.free_port()}"
        self._http = f"http://127.0.0.1:{port}/v1"
        os.environ.update({name: str(processes.free_port()) for name in _PORTS})
        os.environ |= {
            "GRPC_PORT": self.address.partition(":")[2],
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "CLUSTER_HOSTNAME": "bench",
            "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
            "RAFT_BOOTSTRAP_EXPECT": "1",
            "DISABLE_TELEMETRY": "true",
            "LOG_LEVEL": "error",
        }
        self.start([self.options["program"], "--host", "127.0.0.1", "--port", str(port), "--scheme", "http"])

    def _fill(self, rows: Floats) -> None:
        with grpc.insecure_channel(self.address, options=[("grpc.max_send_message_length", -1)]) as channel:
            grpc.channel_ready_future(channel).result(_STARTED)
            graph = {"distance": "cosine", "maxConnections": LINKS, "efConstruction": EF_CONSTRUCTION}
            self._tell("POST", "/schema", {"class": _CLASS, "vectorizer": "none", "vectorIndexConfig": graph})
            send: Any = channel.unary_unary("/weaviate.v1.Weaviate/BatchObjects")
            for start in range(0, len(rows), _BATCH):
                part = enumerate(rows[start : start + _BATCH], start)
                objects = [
                    self._batch.BatchObject(uuid=_uuid(place), vector_bytes=row.tobytes(), collection=_CLASS)
                    for place, row in part
                ]
                message = self._batch.BatchObjectsRequest(objects=objects).SerializeToString()
                reply = self._batch.BatchObjectsReply.FromString(send(message, timeout=600))
                if reply.errors:
                    raise RuntimeError(reply.errors[0].error)

    def _tell(self, method: str, path: str, body: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - this machine's own server
            self._http + path, json.dumps(body).encode() if body else None, method=method
        )
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from None

    async def prepare(self, ask: Ask) -> None:
        """See `Peer`."""
        config = await asyncio.to_thread(partial(self._tell, "GET", f"/schema/{_CLASS}", None))
        if config["vectorIndexConfig"]["ef"] != max(ask.effort, ask.k):
            config["vectorIndexConfig"]["ef"] = max(ask.effort, ask.k)
            await asyncio.to_thread(partial(self._tell, "PUT", f"/schema/{_CLASS}", config))

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        search = self._search
        return [
            search.SearchRequest(
                collection=_CLASS,
                limit=ask.k,
                metadata=search.MetadataRequest(uuid=True),
                near_vector={"vector_bytes": query.tobytes()},
                uses_127_api=True,
            ).SerializeToString()
            for query in queries
        ]

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        return [_places([result.metadata.id for result in self._search.SearchReply.FromString(answer).results])]


def _uuid(place: int) -> str:
    return str(UUID(int=place + 1))  # 0 is no id


def _places(ids: Sequence[str]) -> list[int]:
    return [UUID(each).int - 1 for each in ids]
