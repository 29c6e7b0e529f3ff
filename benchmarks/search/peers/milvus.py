"""Milvus as far as a Python package has it: milvus-lite's server, asked in Milvus' own protocol."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.search import processes
from benchmarks.search.loads import Refused
from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, NAME, Ask
from benchmarks.search.peers.wire import Wired

_BATCH: Final = 2000
_STARTED: Final = 60.0  # seconds


class MilvusLite(Wired):
    """See `Peer`. Its effort is ef. The server is Python, with one thread for each request."""

    method = "/milvus.proto.milvus.MilvusService/Search"

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        self.address = f"127.0.0.1:{processes.free_port()}"
        port = self.address.partition(":")[2]
        command: list[str | Path] = [Path(sys.prefix) / "bin" / "milvus-lite", "server", "--host", "127.0.0.1"]
        command += ["--data-dir", self.folder / "data", "--port", port]
        self.log = self.folder / "log"
        self.start(command)
        await asyncio.to_thread(self._fill, rows)

    def _fill(self, rows: Floats) -> None:
        milvus: Any = importlib.import_module("pymilvus")
        with grpc.insecure_channel(self.address) as channel:
            grpc.channel_ready_future(channel).result(_STARTED)
        client = milvus.MilvusClient(f"http://{self.address}", timeout=60)
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", milvus.DataType.INT64, is_primary=True)
        schema.add_field("v", milvus.DataType.FLOAT_VECTOR, dim=rows.shape[1])
        index = client.prepare_index_params()
        parameters = {"M": LINKS, "efConstruction": EF_CONSTRUCTION}
        index.add_index("v", index_type="HNSW", metric_type="COSINE", params=parameters)
        client.create_collection(NAME, schema=schema, index_params=index)
        for start in range(0, len(rows), _BATCH):
            part = enumerate(rows[start : start + _BATCH], start)
            client.insert(NAME, [{"id": place, "v": row} for place, row in part])
        client.flush(NAME, timeout=7200)
        client.release_collection(
            NAME
        )  # it was loaded when it was empty: flushed segments are scanned until loaded anew
        client.load_collection(NAME, timeout=7200)
        client.close()

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        prepare = importlib.import_module("pymilvus.client.prepare").Prepare
        parameters = {"metric_type": "COSINE", "params": {"ef": max(ask.effort, ask.k)}}
        return [
            prepare.search_requests_with_expr(NAME, "v", parameters, ask.k, data=[query]).SerializeToString()
            for query in queries
        ]

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`. Milvus answers an error with a status inside of a successful reply."""
        reply = importlib.import_module("pymilvus.grpc_gen.milvus_pb2").SearchResults.FromString(answer)
        if reply.status.code:
            raise Refused(reply.status.reason)
        return [list(reply.results.ids.int_id.data)]
