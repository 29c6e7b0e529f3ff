"""Bulk imports: cuts a source into parts, each of which a shard takes whole, as a segment of its own. Pure.

Used by `import_rows` of both clients, which only send what stands here. The source is cut into ranges of so many rows,
and a range into one part per shard. What a part is called depends on the source's identity, the collection and the cut
alone, so that another process finds out by the names what is stored. The trap: whatever changes the cut has to change
the names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from vectorfleet import columns
from vectorfleet.calls import split
from vectorfleet.errors import Failure, ImportFailed, InvalidArgument, SourceError
from vectorfleet.loading import PATIENT, Progress, Upload, fit
from vectorfleet.partition import Key, shard_of
from vectorfleet.readers import Source
from vectorfleet.retry import Attempts, Told
from vectorfleet.session import Session
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.values import CollectionInfo

# As large as the segments that a node flushes, so that parts need as little merging.
PART_ROWS = 100_000
PART_BYTES = 128 << 20
RANGE_BYTES = 256 << 20  # of vectors in memory at a time, and again for each further range that is still being sent
_CHUNK_BYTES = 2 << 20
_BLOCK_ROWS = 4096
_ROW = re.compile(r"rows\[(\d+)\]\.?")


@dataclass(frozen=True)
class Plan:
    """How a source is cut for a collection. name: what all names of parts begin from."""

    collection: CollectionInfo
    source: Source
    name: str
    range_rows: int

    @property
    def shards(self) -> int:
        return len(self.collection.shards)

    def request_id(self, number: int, shard: int) -> str:
        """Of a shard's part of a range."""
        named = json.dumps([self.name, self.collection.uid, self.shards, self.range_rows, number, shard])
        return f"import-{blake2b(named.encode(), digest_size=20).hexdigest()}"

    def ranges(self, first: int) -> Iterator[Range]:
        """All ranges from number `first` on; SourceError at a row that cannot be read, InvalidArgument if one cannot
        be one of the collection.
        """
        number, block = first, _Block()
        for batch in self.source.batches(min(_BLOCK_ROWS, self.range_rows), first * self.range_rows):
            block.add(fit(batch, self.collection))
            while len(block.keys) >= self.range_rows:
                yield Range(self, number, block.take(self.range_rows))
                number += 1
        if block.keys:
            yield Range(self, number, block.take(self.range_rows))


def plan(source: Source, into: CollectionInfo, part_rows: int, import_id: str, resume: bool) -> Plan:
    """The cut of `source`; without `resume`, or where nothing names the source, no other process finds its parts."""
    if part_rows < 0:
        raise InvalidArgument(f"part_rows is {part_rows}; expected 1 or more, or 0 for what suits the vectors")
    row_bytes = 4 * sum(vector.dimensions for vector in into.vectors)
    part_rows = part_rows or max(1, min(PART_ROWS, PART_BYTES // row_bytes))
    range_rows = max(part_rows, min(part_rows * len(into.shards), RANGE_BYTES // row_bytes))
    name = import_id or source.identity
    return Plan(into, source, name if name and resume else uuid4().hex, range_rows)


@dataclass(frozen=True)
class Range:
    """Rows of a source that follow each other: its `number`-th `plan.range_rows` ones."""

    plan: Plan
    number: int
    rows: Upload

    def parts(self) -> list[Part]:
        """One part for each shard that has rows here."""
        shards = self.plan.shards
        if shards == 1:
            return [Part(self, 0, np.arange(len(self.rows.keys)))]
        of = np.fromiter((shard_of(key, shards) for key in self.rows.keys), np.int64, len(self.rows.keys))
        return [Part(self, shard, np.flatnonzero(of == shard)) for shard in np.unique(of).tolist()]


@dataclass(frozen=True)
class Part:
    """The rows of one shard. numbers: their places in the range."""

    range: Range
    shard: int
    numbers: NDArray[np.int64]

    def source_row(self, row: int) -> int:
        """Where the part's `row`-th row is in the source, from 0."""
        return self.range.number * self.range.plan.range_rows + int(self.numbers[row])

    def chunk(self, start: int, stop: int) -> pb.ImportRequest:
        """Rows `start` to `stop` of the part. InvalidArgument, which tells where in the source they are."""
        try:
            return self._packed(self.numbers[start:stop])
        except InvalidArgument as error:
            where = f"rows {self.source_row(start)} to {self.source_row(stop - 1)} of the source"
            raise InvalidArgument(f"{where}: {error}", error.violations) from None

    def _packed(self, chosen: NDArray[np.int64]) -> pb.ImportRequest:
        rows, places = self.range.rows, chosen.tolist()
        packed = (columns.pack_field(name, [values[row] for row in places]) for name, values in rows.fields.items())
        return pb.ImportRequest(
            rows=pb.Rows(
                keys=columns.pack_keys([rows.keys[row] for row in places]),
                vectors=[
                    columns.pack_vectors(name, columns.matrix(array[chosen])) for name, array in rows.vectors.items()
                ],
                fields=[column for column in packed if column is not None],
            )
        )


@dataclass
class Stream:
    """One attempt to send a part. What cannot be packed ends it early, and `error` is why.

    A server takes nothing of a stream with too few rows; gRPC, told by an exception, would say no more than that.
    """

    header: pb.ImportHeader
    part: Part
    error: InvalidArgument | None = None

    def messages(self) -> Iterator[pb.ImportRequest]:
        """Header, then rows, made when they are asked for."""
        yield pb.ImportRequest(header=self.header)
        if not self.header.rows:
            return
        row_bytes = 4 * sum(vector.dimensions for vector in self.part.range.plan.collection.vectors)
        try:
            yield from split(self.part.chunk, len(self.part.numbers), row_bytes, _CHUNK_BYTES)
        except InvalidArgument as error:
            self.error = error


@dataclass(frozen=True)
class ImportCall:
    """Stores a part, or finds it stored; a header that says of no rows only asks."""

    header: pb.ImportHeader
    part: Part
    session: Session

    def attempt(self) -> Stream:
        """To be sent; a stream can be sent once."""
        return Stream(self.header, self.part)

    def received(self, reply: pb.ImportResponse) -> None:
        """Remembers where the rows are."""
        self.session.merge(self.header.collection, reply.session)

    def judged(self, failure: Failure, attempts: Attempts, sent: Stream) -> float:
        """Seconds to wait before the next attempt; raises when there will be none, and tells the source's row."""
        if sent.error is not None:
            raise sent.error
        try:
            return attempts.pause(failure)
        except InvalidArgument as error:
            raise _named(error, self.part) from None


def storing(session: Session, part: Part) -> ImportCall:
    """The call that stores a part."""
    header = _header(session, part.range.plan, part.range.number, part.shard)
    header.rows = len(part.numbers)
    return ImportCall(header, part, session)


def asking(session: Session, plan: Plan, number: int, shard: int) -> ImportCall:
    """The call that only asks whether a part is stored."""
    nothing = Part(Range(plan, number, Upload([], {}, {})), shard, np.empty(0, np.int64))
    return ImportCall(_header(session, plan, number, shard), nothing, session)


def questions(session: Session, plan: Plan) -> Iterator[tuple[int, ImportCall]]:
    """Number of a range and question about one of its shards, range by range; to be asked until one is not stored.

    Reading begins with the last range of which a part is stored: all before it are stored whole.
    """
    number = 0
    while plan.source.rows is None or number * plan.range_rows < plan.source.rows:
        for shard in range(plan.shards):
            yield number, asking(session, plan, number, shard)
        number += 1


@dataclass
class Job:
    """One import: what is to be sent, how, and what is stored so far."""

    plan: Plan
    session: Session
    parallel: int
    timeout: float  # seconds for each part
    progress: Progress | None = None
    full: Told | None = None
    rows: int = 0  # stored, by this import and by earlier ones
    repeated: int = 0  # of these, by earlier ones

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise InvalidArgument(f"parallel is {self.parallel}; expected 1 or more")

    def attempts(self) -> Attempts:
        """Those of one part."""
        return Attempts(PATIENT, self.timeout, self.full)

    def skip_to(self, first: int) -> Iterator[Part]:
        """The parts from range number `first` on; what is before is stored."""
        if first:
            self.add(first * self.plan.range_rows, True)
        return (part for each in self.plan.ranges(first) for part in each.parts())

    def add(self, rows: int, repeated: bool) -> None:
        """More rows are stored."""
        self.rows += rows
        self.repeated += rows if repeated else 0
        if self.progress is not None:
            self.progress(self.rows, self.plan.source.rows)

    def stopped(self, error: Exception) -> ImportFailed:
        """What the user gets when the import cannot go on."""
        mended = "" if isinstance(error, InvalidArgument | SourceError) else "; the same import again goes on"
        return ImportFailed(f"{error} ({self.rows:,} rows are stored{mended})", self.rows)


class _Block:
    """Rows that are collected until there are enough."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._vectors: dict[str, list[NDArray[Any]]] = {}
        self._fields: dict[str, list[Any]] = {}

    def add(self, rows: Upload) -> None:
        for name in {**rows.fields, **self._fields}:  # a batch of JSON lines has the fields that its lines have
            values = self._fields.setdefault(name, [None] * len(self.keys))
            values.extend(rows.fields.get(name, [None] * len(rows.keys)))
        for name, array in rows.vectors.items():
            self._vectors.setdefault(name, []).append(np.asarray(array, "<f4"))
        self.keys.extend(rows.keys)

    def take(self, count: int) -> Upload:
        """The first `count` rows; they are gone from here."""
        vectors = {name: np.concatenate(arrays) for name, arrays in self._vectors.items()}
        taken = Upload(
            self.keys[:count],
            {name: array[:count] for name, array in vectors.items()},
            {name: values[:count] for name, values in self._fields.items()},
        )
        del self.keys[:count]
        self._vectors = {name: [array[count:].copy()] for name, array in vectors.items()}
        self._fields = {name: values[count:] for name, values in self._fields.items()}
        return taken


def _header(session: Session, plan: Plan, number: int, shard: int) -> pb.ImportHeader:
    return pb.ImportHeader(
        collection=plan.collection.name,
        shard=shard,
        request_id=plan.request_id(number, shard),
        floor=session.token(plan.collection.name),
    )


def _named(error: InvalidArgument, part: Part) -> InvalidArgument:
    """The refusal of a part's row as one of the source's row."""
    for violation in error.violations:
        if (found := _ROW.match(violation.field)) is not None:
            what = violation.field[found.end() :]
            row = part.source_row(int(found[1]))
            return InvalidArgument(f"row {row} of the source: {what}: {violation.description}", error.violations)
    return error
