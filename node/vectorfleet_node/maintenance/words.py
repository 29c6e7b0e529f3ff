"""A log record in words that an operator understands; pure. Used by `logview`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from vectorfleet_node.shard.parts import imported_entry
from vectorfleet_node.storage import arrow
from vectorfleet_node.storage.record import Batch, BatchRequest, Body, Fence, Pin, Publish, Record, Unpin

KINDS: Final[dict[type[Body], str]] = {
    Batch: "batch",
    Fence: "fence",
    Publish: "publish",
    Pin: "pin",
    Unpin: "unpin",
}


def kind_of(record: Record) -> str:
    """One word."""
    return KINDS[type(record.body)]


def time_of(record: Record) -> str:
    """The record's stamp, UTC."""
    moment = datetime.fromtimestamp(record.stamp / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def describe(record: Record) -> str:
    """What the record does. ValueError or DataLoss when its rows cannot be read."""
    match record.body:
        case Batch(requests):
            return _batch(requests, record.position)
        case Fence(owner, address, _) if not owner:
            return f"the log begins{f' at {address}' if address else ''}; nobody leads yet"
        case Fence(owner, address, written):
            return f"{address or 'a node without an address'} (owner {owner}) leads from here, writing format {written}"
        case Publish(manifest, _, boundary):
            collected = f"; slots up to {boundary} may be collected" if boundary else ""
            return f"manifest {manifest} counts from here{collected}"
        case Pin(name, manifest, through):
            return f"pin {name}: manifest {manifest} and the log through {through} are kept"
        case Unpin(name):
            return f"pin {name} ends"


def counted(count: int, thing: str) -> str:
    """`1 row`, `2 rows`, with thousands apart."""
    plural = {"entry": "entries", "index": "indexes"}.get(thing, thing + "s")
    return f"{count:,} {thing if count == 1 else plural}"


def _batch(requests: tuple[BatchRequest, ...], position: int) -> str:
    if not requests:
        return "reserves its position for rows to be imported"
    if requests[0].segment is not None:
        entry = imported_entry(requests[0], position)
        return f"imports {counted(entry.count, 'row')} as the segment of {entry.rows.name}"
    rows = sum(arrow.count_rows(request.upsert) for request in requests if request.upsert is not None)
    deletes = sum(len(request.deletes) for request in requests)
    done = [f"writes {counted(rows, 'row')}"] if rows else []
    done += [f"deletes {counted(deletes, 'key')}"] if deletes else []
    return f"{' and '.join(done) or 'changes nothing'} in {counted(len(requests), 'request')}"
