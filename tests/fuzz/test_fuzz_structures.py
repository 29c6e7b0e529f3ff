"""Records by their structure: what can be written is read back, and lying counts and lengths never are."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objects import OURS, POSITION, SHARD, UID, crc_behind, every_object, imported, record_of

from vectorfleet_node.storage import record
from vectorfleet_node.storage.format import READABLE
from vectorfleet_node.storage.record import Batch, BatchRequest, Fence, Pin, Publish, Record, Unpin

repeatable = settings(derandomize=True, deadline=None, max_examples=200)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)  # lone surrogates are no UTF-8
u64, u32 = (st.integers(0, (1 << bits) - 1) for bits in (64, 32))
requests = st.one_of(
    st.builds(BatchRequest, texts, st.binary(max_size=200), st.just(())),
    st.builds(BatchRequest, texts, st.none(), st.lists(texts, max_size=8).map(tuple)),
    st.builds(BatchRequest, texts, st.none(), st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1).map(tuple)),
)
imports = st.builds(BatchRequest, texts, st.none(), st.just(()), st.binary(max_size=200))
bodies = st.one_of(
    st.builds(Batch, st.lists(requests, max_size=5).map(tuple)),
    st.builds(Batch, imports.map(lambda request: (request,))),
    st.builds(Fence, texts, texts, st.sampled_from(READABLE)),
    st.builds(Publish, u64, u32, u64),
    st.builds(Pin, texts, u64, u64),
    st.builds(Unpin, texts),
)
records = st.builds(Record, texts, u32, u64, u64, st.binary(min_size=16, max_size=16), u64, u32, bodies)


@repeatable
@given(records)
def test_every_record_that_can_be_written_is_read_back(written: Record) -> None:
    data = record.encode(written)
    assert record.decode(data, uid=written.uid, shard=written.shard, position=written.position) == written


@repeatable
@given(st.binary(max_size=300))
def test_no_bytes_at_all_are_taken_for_a_record_or_break_the_decoder(data: bytes) -> None:
    with pytest.raises(OURS):
        record.decode(data, uid=None, shard=0, position=1)


@repeatable
@given(st.binary(max_size=300), st.integers(0, 9))
def test_no_body_behind_a_right_checksum_breaks_the_decoder(body: bytes, kind: int) -> None:
    data = bytearray(record_of(Unpin("x"))[: -4 - 3] + body + bytes(4))
    data[6:8] = struct.pack("<H", kind)
    said = ""
    try:
        record.decode(crc_behind(bytes(data)), uid=UID, shard=SHARD, position=POSITION)
    except OURS as error:
        said = str(error)
    assert not said or f"log record {POSITION} of shard {SHARD}" in said


@pytest.mark.parametrize("count", [1, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("tag", [1, 2, 3, 4])
def test_a_count_beyond_the_end_is_refused_and_the_offset_told(count: int, tag: int) -> None:
    body = struct.pack("<IH", 1, 1) + b"r" + struct.pack("<BI", tag, count)
    data = bytearray(record_of(Unpin("x"))[: -4 - 3] + body + bytes(4))
    data[6:8] = struct.pack("<H", 1)
    with pytest.raises(record.DataLoss, match=r"malformed: .*expected at \d+"):
        record.decode(crc_behind(bytes(data)), uid=UID, shard=SHARD, position=POSITION)


def test_a_record_that_imports_a_file_outside_of_the_folder_is_refused() -> None:
    hostile = imported().replace(b"2-", b"../../2-")
    data = record_of(Batch((BatchRequest("r", None, segment=hostile),)))
    with pytest.raises(record.DataLoss, match="log record 7, request r"):
        every_object()["record: import"].decode(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b.rows", "a\\b.rows", "a\x00.rows"])
def test_a_manifest_whose_file_names_lead_out_of_the_folder_is_refused(name: str) -> None:
    manifest = every_object()["manifest"]
    spoilt = manifest.data.replace(b'"2-abababababababab-00000001.rows"', json.dumps(name).encode())
    assert spoilt != manifest.data
    with pytest.raises(record.DataLoss, match="manifest 7 of shard 3 is malformed"):
        manifest.decode(crc_behind(spoilt))
