"""The asynchronous client, for one event loop: the twin of client.py, method for method.

A thin shell: requests.py makes the calls, replies.py the results, retry.py decides on failures.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
from numpy.typing import ArrayLike

from vectorfleet import channel, importing, loading, requests
from vectorfleet.calls import Call
from vectorfleet.errors import VectorFleetError
from vectorfleet.readers import Source
from vectorfleet.requests import Fields, Keys, Vectors
from vectorfleet.retry import Attempts, RetryPolicy, Told
from vectorfleet.scanning import AsyncScan
from vectorfleet.schema import FieldSchema, VectorSchema
from vectorfleet.session import Session
from vectorfleet.streams import AsyncSender
from vectorfleet.v1.vectorfleet_pb2_grpc import VectorFleetStub
from vectorfleet.values import CollectionInfo, ImportResult, LoadResult, Row, SearchResult, WriteResult

Result = TypeVar("Result")


class AsyncClient:
    """As `vectorfleet.Client`, with coroutines. Make it inside the event loop that uses it."""

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:7300",
        *,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        session: Session | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.session = session or Session()
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        target, options = channel.target(address), channel.options()
        self._channel = (
            grpc.aio.secure_channel(target, credentials, options=options)
            if credentials
            else grpc.aio.insecure_channel(target, options=options)
        )
        self._stub: Any = VectorFleetStub(self._channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Closes the connections; calls in flight fail."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def upsert(
        self,
        collection: str,
        keys: Keys,
        vectors: Vectors,
        *,
        fields: Fields | None = None,
        request_id: str = "",
        session: Session | None = None,
        timeout: float | None = None,
    ) -> WriteResult:
        """As `Client.upsert`."""
        call = requests.upsert(session or self.session, collection, keys, vectors, fields, request_id)
        return await self._run(call, timeout)

    async def delete(
        self,
        collection: str,
        keys: Keys | None = None,
        *,
        filter: str = "",
        request_id: str = "",
        session: Session | None = None,
        timeout: float | None = None,
    ) -> WriteResult:
        """As `Client.delete`."""
        return await self._run(requests.delete(session or self.session, collection, keys, filter, request_id), timeout)

    async def search(
        self,
        collection: str,
        vectors: ArrayLike,
        *,
        k: int = 10,
        vector: str = "",
        filter: str = "",
        output_fields: Sequence[str] = (),
        include_vectors: bool = False,
        consistency: str | None = None,
        max_staleness: float = 0.0,
        allow_partial: bool = False,
        exact: bool = False,
        ef: int = 0,
        target_recall: float | None = None,
        min_score: float | None = None,
        group_by: str = "",
        group_size: int = 1,
        explain: bool = False,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> SearchResult:
        """As `Client.search`."""
        call = requests.search(
            session or self.session,
            collection,
            vectors,
            k=k,
            vector=vector,
            filter=filter,
            output_fields=output_fields,
            include_vectors=include_vectors,
            consistency=consistency,
            max_staleness=max_staleness,
            allow_partial=allow_partial,
            exact=exact,
            ef=ef,
            target_recall=target_recall,
            min_score=min_score,
            group_by=group_by,
            group_size=group_size,
            explain=explain,
        )
        return await self._run(call, timeout)

    async def get(
        self,
        collection: str,
        keys: Keys,
        *,
        output_fields: Sequence[str] = ("*",),
        include_vectors: bool = False,
        consistency: str | None = None,
        max_staleness: float = 0.0,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> list[Row]:
        """As `Client.get`."""
        call = requests.get(
            session or self.session,
            collection,
            keys,
            output_fields=output_fields,
            include_vectors=include_vectors,
            consistency=consistency,
            max_staleness=max_staleness,
        )
        return await self._run(call, timeout)

    def scan(
        self,
        collection: str,
        *,
        filter: str = "",
        output_fields: Sequence[str] = ("*",),
        include_vectors: bool = False,
        page_size: int = 1000,
        consistency: str | None = None,
        max_staleness: float = 0.0,
        resume: bool = False,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> AsyncScan:
        """As `Client.scan`, for `async for row in client.scan(...)`."""
        pages = requests.scan(
            session or self.session,
            collection,
            filter=filter,
            output_fields=output_fields,
            include_vectors=include_vectors,
            page_size=page_size,
            consistency=consistency,
            max_staleness=max_staleness,
            resume=resume,
        )
        return AsyncScan(pages, lambda call: self._run(call, timeout))

    async def count(
        self,
        collection: str,
        *,
        filter: str = "",
        consistency: str | None = None,
        max_staleness: float = 0.0,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """As `Client.count`."""
        call = requests.count(session or self.session, collection, filter, consistency, max_staleness)
        return await self._run(call, timeout)

    async def describe(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """As `Client.describe`."""
        return await self._run(requests.describe(collection), timeout)

    async def collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """As `Client.collections`."""
        return await self._run(requests.collections(), timeout)

    async def create_collection(
        self,
        name: str,
        dimensions: int | None = None,
        *,
        metric: str = "Cosine",
        index: str = "Auto",
        quantization: str = "Auto",
        key: str = "String",
        fields: Mapping[str, str] | Sequence[FieldSchema] = (),
        vectors: Sequence[VectorSchema] = (),
        shards: int = 1,
        timeout: float | None = None,
    ) -> CollectionInfo:
        """As `Client.create_collection`."""
        call = requests.create_collection(
            name,
            dimensions,
            metric=metric,
            index=index,
            quantization=quantization,
            key=key,
            fields=fields,
            vectors=vectors,
            shards=shards,
        )
        return await self._run(call, timeout)

    async def load(
        self,
        collection: str,
        source: Source,
        *,
        batch_size: int = 2000,
        in_flight: int = 4,
        skip: int = 0,
        progress: loading.Progress | None = None,
        full: Told | None = None,
        session: Session | None = None,
        timeout: float = 120.0,
    ) -> LoadResult:
        """As `Client.load`; the source is read in a thread."""
        began = time.monotonic()
        used = session or self.session
        uploads = loading.uploads(source, await self.describe(collection), batch_size, in_flight, skip)
        waiting: deque[tuple[int, asyncio.Task[WriteResult]]] = deque()
        stored = skip

        async def wait() -> None:
            nonlocal stored
            rows, write = waiting.popleft()
            await write
            stored += rows
            if progress is not None:
                progress(stored, source.rows)

        try:
            while upload := await asyncio.to_thread(next, uploads, None):
                call = requests.upsert(used, collection, upload.keys, upload.vectors, upload.fields, "")
                waiting.append((len(upload.keys), asyncio.create_task(self._run(call, timeout, loading.PATIENT, full))))
                if len(waiting) >= in_flight:
                    await wait()
            while waiting:
                await wait()
        except VectorFleetError as error:
            raise loading.stopped(error, stored) from error
        finally:
            for _, write in waiting:
                write.cancel()
            await asyncio.gather(*(write for _, write in waiting), return_exceptions=True)
        return LoadResult(stored - skip, time.monotonic() - began)

    async def import_rows(
        self,
        collection: str,
        source: Source,
        *,
        parallel: int = 4,
        part_rows: int = 0,
        import_id: str = "",
        resume: bool = True,
        progress: loading.Progress | None = None,
        full: Told | None = None,
        session: Session | None = None,
        timeout: float = 3600.0,
    ) -> ImportResult:
        """As `Client.import_rows`; the source is read, and rows are packed, in threads."""
        began = time.monotonic()
        plan = importing.plan(source, await self.describe(collection), part_rows, import_id, resume)
        job = importing.Job(plan, session or self.session, parallel, timeout, progress, full)
        try:
            await AsyncSender(self._stub.Import, job).run()
        except VectorFleetError as error:
            raise job.stopped(error) from error
        return ImportResult(job.rows, job.repeated, time.monotonic() - began)

    async def _run(
        self, call: Call[Result], timeout: float | None, retry: RetryPolicy | None = None, full: Told | None = None
    ) -> Result:
        attempts = Attempts(retry or self._retry, self._timeout if timeout is None else timeout, full)
        return call.finish([await self._send(call, request, attempts) for request in call.requests])

    async def _send(self, call: Call[Any], request: Any, attempts: Attempts) -> Any:
        while True:
            try:
                reply = await getattr(self._stub, call.method)(request, timeout=attempts.share())
            except grpc.aio.AioRpcError as failure:
                await asyncio.sleep(call.judged(failure, attempts, request))
            else:
                attempts.succeeded()
                call.received(reply)
                return reply
