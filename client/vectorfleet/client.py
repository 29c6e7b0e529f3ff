"""The synchronous client. Safe to share between threads; one channel, one session.

A thin shell: requests.py makes the calls, replies.py the results, retry.py decides on failures. aio.py is its twin.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from vectorfleet.scanning import Scan
from vectorfleet.schema import FieldSchema, VectorSchema
from vectorfleet.session import Session
from vectorfleet.streams import Sender
from vectorfleet.v1.vectorfleet_pb2_grpc import VectorFleetStub
from vectorfleet.values import CollectionInfo, ImportResult, LoadResult, Row, SearchResult, WriteResult

Result = TypeVar("Result")


class Client:
    """Talks to a fleet or a stand-alone node.

    `address` is `host[:port]`, several `ip:port`, or a gRPC target; all addresses are used in turn. `timeout` is the
    deadline of a call in seconds, retries included, unless the call has its own. `credentials` turn TLS on.
    Every method raises errors of `vectorfleet.errors` and nothing else.
    """

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
            grpc.secure_channel(target, credentials, options=options)
            if credentials
            else grpc.insecure_channel(target, options=options)
        )
        self._stub: Any = VectorFleetStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Closes the connections; calls in flight fail."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def upsert(
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
        """Inserts rows, replacing those whose key exists; when it returns they are durable.

        `vectors`: numbers of shape (rows, dimensions), or a mapping of vector name to that. `fields`: one sequence of
        `rows` values per field, None for null. More than 16 MiB travel as several requests; each is all or nothing per
        shard. `request_id` (up to 64 characters): repeat a failed call with the same one to complete it without
        applying anything twice; a shard remembers its last 262,144 ids.
        """
        return self._run(
            requests.upsert(session or self.session, collection, keys, vectors, fields, request_id), timeout
        )

    def delete(
        self,
        collection: str,
        keys: Keys | None = None,
        *,
        filter: str = "",
        request_id: str = "",
        session: Session | None = None,
        timeout: float | None = None,
    ) -> WriteResult:
        """Deletes rows by `keys`, or every row that matches `filter`; deleting what is not there is no error.

        `rows` of the result counts the keys given or, of a filter, the rows that were deleted. A filter sees every
        write acknowledged before the call, and is evaluated by each shard's leader just before the rows go. More than
        65,536 rows of a shard go in several steps.
        """
        return self._run(requests.delete(session or self.session, collection, keys, filter, request_id), timeout)

    def search(
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
        """The k best rows for each query of `vectors`, of shape (queries, dimensions) or (dimensions,).

        `vector` names the vector to compare with ("": the default one). `output_fields=["*"]` returns every field.
        `consistency`: Strong, Session, Bounded (at most `max_staleness` seconds old) or Eventual; None: what the
        collection says. `exact` compares with every row; `ef` sizes the candidate list (0: chosen from k),
        or `target_recall`, from 0.5 to 1, says about which share of the best k is to be found.
        `min_score` leaves out hits with a lower score. `group_by` names a field: then k groups are found, with the best
        `group_size` rows of each of its values (`SearchResult.groups`). `explain` fills `SearchResult.explanation`:
        which shards and segments were searched, and how long each step took.
        """
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
        return self._run(call, timeout)

    def get(
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
        """Rows by key, in the order asked; absent keys are left out."""
        call = requests.get(
            session or self.session,
            collection,
            keys,
            output_fields=output_fields,
            include_vectors=include_vectors,
            consistency=consistency,
            max_staleness=max_staleness,
        )
        return self._run(call, timeout)

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
    ) -> Scan:
        """All live rows that match `filter` (all where it is empty): each once, `page_size` to a request.

        Each shard is read at one position, in the order of its keys; a node holds that view between requests. When it
        is lost (the node restarted, or nothing was asked for 5 minutes), ScanLost is raised, or with `resume=True` the
        scan goes on behind the last key at a newer position and `Scan.resumed` becomes true. Use it as a context
        manager if you may stop early. `timeout` is for each page.
        """
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
        return Scan(pages, lambda call: self._run(call, timeout))

    def count(
        self,
        collection: str,
        *,
        filter: str = "",
        consistency: str | None = None,
        max_staleness: float = 0.0,
        session: Session | None = None,
        timeout: float | None = None,
    ) -> int:
        """How many live rows match `filter` (all where it is empty)."""
        call = requests.count(session or self.session, collection, filter, consistency, max_staleness)
        return self._run(call, timeout)

    def describe(self, collection: str, *, timeout: float | None = None) -> CollectionInfo:
        """Schema of a collection and state of every shard."""
        return self._run(requests.describe(collection), timeout)

    def collections(self, *, timeout: float | None = None) -> list[CollectionInfo]:
        """Every collection that the answering node knows."""
        return self._run(requests.collections(), timeout)

    def create_collection(
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
        """Makes a collection on a stand-alone node; on Kubernetes apply a VectorCollection instead.

        One vector of `dimensions`, or several by `vectors`. `fields` maps name to the name of a `FieldType`. The
        same request again is no error; another schema under the same name raises AlreadyExists.
        """
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
        return self._run(call, timeout)

    def load(
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
        """Writes all rows of `source` (see `vectorfleet.open_source`), `in_flight` batches at a time.

        `timeout` is for each batch. Where a key occurs twice in the source, which of the two wins is undefined. `full`
        is told, from any thread, each time that a batch waits because the server has no room. Raises LoadFailed, whose
        `stored` is the `skip` to go on with; loading rows again is harmless.
        """
        began = time.monotonic()
        used = session or self.session
        uploads = loading.uploads(source, self.describe(collection), batch_size, in_flight, skip)
        waiting: deque[tuple[int, Future[WriteResult]]] = deque()
        stored = skip

        def wait() -> None:
            nonlocal stored
            rows, write = waiting.popleft()
            write.result()
            stored += rows
            if progress is not None:
                progress(stored, source.rows)

        with ThreadPoolExecutor(max_workers=in_flight) as pool:
            try:
                for upload in uploads:
                    call = requests.upsert(used, collection, upload.keys, upload.vectors, upload.fields, "")
                    waiting.append((len(upload.keys), pool.submit(self._run, call, timeout, loading.PATIENT, full)))
                    if len(waiting) >= in_flight:
                        wait()
                while waiting:
                    wait()
            except VectorFleetError as error:
                raise loading.stopped(error, stored) from error
        return LoadResult(stored - skip, time.monotonic() - began)

    def import_rows(
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
        """Imports all rows of `source` (see `vectorfleet.open_source`) in parts, `parallel` at a time.

        Faster than `load` for many rows: each shard takes a part of `part_rows` rows (0: what suits the vectors) whole,
        as a segment of its own, and its rows become visible together. `timeout` is for each part. The same import
        again, from any process, leaves out what is stored: of a file that has not changed since, or under an
        `import_id` of your own. `resume=False` stores everything anew. Where a key occurs twice in the source, it is
        refused within a part, and which of two parts wins is undefined. `full` as for `load`. Raises ImportFailed.
        """
        began = time.monotonic()
        plan = importing.plan(source, self.describe(collection), part_rows, import_id, resume)
        job = importing.Job(plan, session or self.session, parallel, timeout, progress, full)
        try:
            Sender(self._stub.Import, job).run()
        except VectorFleetError as error:
            raise job.stopped(error) from error
        return ImportResult(job.rows, job.repeated, time.monotonic() - began)

    def _run(
        self, call: Call[Result], timeout: float | None, retry: RetryPolicy | None = None, full: Told | None = None
    ) -> Result:
        attempts = Attempts(retry or self._retry, self._timeout if timeout is None else timeout, full)
        return call.finish([self._send(call, request, attempts) for request in call.requests])

    def _send(self, call: Call[Any], request: Any, attempts: Attempts) -> Any:
        while True:
            try:
                reply = getattr(self._stub, call.method)(request, timeout=attempts.share())
            except grpc.RpcError as failure:
                time.sleep(call.judged(failure, attempts, request))
            else:
                attempts.succeeded()
                call.received(reply)
                return reply
