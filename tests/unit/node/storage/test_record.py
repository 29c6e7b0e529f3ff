"""The log record codec: what is written is read, and no bytes whatever are read as something else."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace

import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorfleet_node.storage import record as records
from vectorfleet_node.storage.format import FORMAT, READABLE
from vectorfleet_node.storage.record import (
    Batch,
    BatchRequest,
    Fence,
    Pin,
    Publish,
    Record,
    UnknownRecord,
    Unpin,
    chain_value,
    decode,
    encode,
)
from vectorfleet_node.storage.store import DataLoss

names = st.text(max_size=40)
unsigned = st.integers(0, 2**64 - 1)
deletes = st.one_of(
    st.lists(st.text(max_size=20), max_size=5).map(tuple),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple),
)
requests = st.one_of(
    st.builds(BatchRequest, names, st.binary(max_size=200), st.just(())),
    st.builds(BatchRequest, names, st.none(), deletes),
)
bodies = st.one_of(
    st.builds(Batch, st.lists(requests, max_size=4).map(tuple)),
    st.builds(Fence, names, names, st.sampled_from(READABLE)),
    st.builds(Publish, unsigned, st.integers(0, 2**32 - 1), unsigned),
    st.builds(Pin, names, unsigned, unsigned),
    st.builds(Unpin, names),
)
all_records = st.builds(
    Record,
    uid=names,
    shard=st.integers(0, 2**32 - 1),
    position=unsigned,
    epoch=unsigned,
    nonce=st.binary(min_size=16, max_size=16),
    stamp=unsigned,
    previous=st.integers(0, 2**32 - 1),
    body=bodies,
    format=st.sampled_from(READABLE),
)

EXAMPLE = Record("collection", 3, 42, 7, bytes(range(16)), 1_700_000_000_000, 99, Batch((BatchRequest("r", b"arrow"),)))


def read(data: bytes) -> Record:
    return decode(data, uid="collection", shard=3, position=42)


def with_checksum(content: bytes) -> bytes:
    return content + struct.pack("<I", crc32c(content))


@settings(deadline=None)
@given(all_records)
def test_what_is_written_is_read(record: Record) -> None:
    assert decode(encode(record), uid=record.uid, shard=record.shard, position=record.position) == record


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises((DataLoss, UnknownRecord)):
        read(data)


@settings(deadline=None)
@given(st.binary(max_size=120), st.integers(0, 60))
def test_garbage_behind_a_good_header_and_checksum_is_refused_or_read(data: bytes, kept: int) -> None:
    content = encode(EXAMPLE)[:-4]
    with contextlib.suppress(DataLoss, UnknownRecord):
        read(with_checksum(content[: len(content) - kept] + data))


def flips_that_pass() -> list[int]:
    """Bits of the example whose flip goes unnoticed."""
    data = encode(EXAMPLE)
    passed = []
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            read(bytes(damaged))
        except (DataLoss, UnknownRecord):
            continue
        passed.append(bit)
    return passed


def test_every_flipped_bit_is_noticed() -> None:
    assert flips_that_pass() == []


def test_without_a_checksum_flipped_bits_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "crc32c", lambda _: 0)
    monkeypatch.setattr(records, "extend_crc32c", lambda _, __: 0)
    assert flips_that_pass()


def test_every_torn_end_is_noticed() -> None:
    data = encode(EXAMPLE)
    for length in range(len(data)):
        with pytest.raises(DataLoss):
            read(data[:length])


@pytest.mark.parametrize(("uid", "shard", "position"), [("other", 3, 42), ("collection", 4, 42), ("collection", 3, 43)])
def test_a_record_in_anothers_place_is_damage(uid: str, shard: int, position: int) -> None:
    with pytest.raises(DataLoss, match="holds record 42 of shard 3 of collection collection"):
        decode(encode(EXAMPLE), uid=uid, shard=shard, position=position)


def test_bytes_behind_the_last_value_are_damage() -> None:
    with pytest.raises(DataLoss, match="malformed"):
        read(with_checksum(encode(EXAMPLE)[:-4] + b"x"))


def test_a_newer_format_is_told_from_damage() -> None:
    content = bytearray(encode(EXAMPLE)[:-4])
    content[4:6] = (FORMAT + 1).to_bytes(2, "little")
    with pytest.raises(UnknownRecord, match=f"format {FORMAT + 1}; this version reads formats 1 to {FORMAT}"):
        read(with_checksum(bytes(content)))


def test_a_fence_that_begins_a_newer_format_is_not_read() -> None:
    fence = Record("collection", 3, 42, 7, bytes(16), 1, 99, Fence("o", "a:1", FORMAT + 1))
    with pytest.raises(UnknownRecord, match=f"begins format {FORMAT + 1}"):
        read(encode(fence))


@pytest.mark.parametrize("written_format", READABLE)
def test_a_record_is_written_in_the_format_that_it_says(written_format: int) -> None:
    record = replace(EXAMPLE, format=written_format)
    assert encode(record)[4:6] == written_format.to_bytes(2, "little")
    assert read(encode(record)) == record


def test_an_unknown_kind_is_told_from_damage() -> None:
    content = bytearray(encode(EXAMPLE)[:-4])
    content[6:8] = (77).to_bytes(2, "little")
    with pytest.raises(UnknownRecord, match="kind 77"):
        read(with_checksum(bytes(content)))


def test_the_chain_value_depends_on_the_record() -> None:
    other = encode(Record("collection", 3, 42, 7, bytes(16), 1, 99, Unpin("x")))
    assert chain_value(encode(EXAMPLE)) != chain_value(other)


@pytest.mark.parametrize(
    "request_",
    [BatchRequest("r", b"x", ("k",)), BatchRequest("r", None, ("k", 1)), BatchRequest("r", None, (2**63,))],
    ids=["both", "two key types", "too large a key"],
)
def test_a_request_that_makes_no_sense_is_not_written(request_: BatchRequest) -> None:
    with pytest.raises(ValueError, match="request r"):
        encode(Record("u", 0, 2, 1, bytes(16), 1, 0, Batch((request_,))))


def test_a_number_that_does_not_fit_is_not_written() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode(Record("u", -1, 2, 1, bytes(16), 1, 0, Unpin("x")))
