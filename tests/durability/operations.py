"""The writes of a campaign, as a function of (seed, lane, number): worker and ledger make the same ones.

A lane is a client that sends one write at a time, to keys of its own; so the order of a lane's writes is known whatever
the order in which the log has those of different lanes.
"""

from __future__ import annotations

import random

import pyarrow as pa

from tests.sim.ledger import Row, Write
from vectorfleet.schema import CollectionSchema, FieldSchema, FieldType, VectorSchema
from vectorfleet_node.shard.batch import arrow_schema
from vectorfleet_node.shard.port import DeletePart, UpsertPart

UID = "00d1e5e1f0cadd1e"
SHARD = 0
SCHEMA = CollectionSchema(
    vectors=(VectorSchema(name="default", dimensions=2),),
    fields=(FieldSchema(name="value", type=FieldType.STRING),),
    shards=1,
)
_KEYS = 25


def request_id(lane: int, number: int) -> str:
    """The identifier of a lane's write."""
    return f"{lane}:{number}"


def operation(seed: int, lane: int, number: int, padding: int = 300) -> Write:
    """A lane's write. padding: a row's field has up to so many bytes more than it needs."""
    chance = random.Random(f"{seed}/{lane}/{number}")
    keys = chance.sample([f"{lane}-{key}" for key in range(_KEYS)], chance.randint(1, 6))
    told = request_id(lane, number)
    if chance.random() < 0.25:
        return Write(told, deletes=tuple(keys))
    rows = [
        Row(
            key,
            f"{told}/{key}/" + "x" * chance.randint(0, padding),
            (float(number % 4096), float(chance.randint(0, 99))),
        )
        for key in keys
    ]
    return Write(told, rows=tuple(rows))


def part_of(write: Write) -> UpsertPart | DeletePart:
    """What a replica is given for a write."""
    if write.deletes:
        return DeletePart(write.deletes)
    flat = pa.array([number for row in write.rows for number in row.vector], pa.float32())
    columns = {
        "key": [row.key for row in write.rows],
        "vector.default": pa.FixedSizeListArray.from_arrays(flat, 2),
        "field.value": [row.value for row in write.rows],
    }
    return UpsertPart(pa.RecordBatch.from_pydict(columns, schema=arrow_schema(SCHEMA)))
