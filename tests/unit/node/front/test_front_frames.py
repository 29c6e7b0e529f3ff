"""The frames between a front process and the node's: whole in any portions, and what is none is told."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vectorfleet_node.front.frames import (
    HEADER,
    MOST_PAYLOAD,
    BrokenFrames,
    FrameReader,
    Kind,
    Opening,
    Status,
    header,
    pack_metadata,
    pack_opening,
    unpack_metadata,
)

FRAMES = st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=12)
TEXT = st.text(max_size=20)
PAIRS = st.tuples(TEXT.filter(lambda key: not key.endswith("-bin")), TEXT) | st.tuples(
    TEXT.map(lambda key: f"{key}-bin"), st.binary(max_size=50)
)
METADATA = st.lists(PAIRS, max_size=5)


def bytes_of(frames: list[tuple[Kind, int, bytes]]) -> bytes:
    return b"".join(header(kind, call, len(payload)) + payload for kind, call, payload in frames)


def read(reader: FrameReader, data: bytes, portions: list[int]) -> list[tuple[Kind, int, bytes]]:
    """What comes out when the data arrives in portions of these sizes, and then in one."""
    found = []
    while data:
        space = reader.space()
        count = min(len(data), len(space), portions.pop(0) if portions else len(data))
        space[:count], data = data[:count], data[count:]
        found += [(kind, call, bytes(payload)) for kind, call, payload in reader.received(count)]
    return found


@settings(deadline=None)
@given(FRAMES, st.lists(st.integers(1, 40), max_size=60))
def test_frames_come_out_as_they_went_in_whatever_the_portions(
    frames: list[tuple[Kind, int, bytes]], portions: list[int]
) -> None:
    assert read(FrameReader(), bytes_of(frames), portions) == frames


@pytest.mark.parametrize("size", [256 * 1024 - HEADER.size, 256 * 1024, 3_000_001])
def test_frames_larger_than_the_buffer_come_out_and_small_ones_after_them(size: int) -> None:
    large = bytes(range(256)) * (size // 256 + 1)
    frames = [(Kind.CALL, 1, b"before"), (Kind.REPLY, 2, large[:size]), (Kind.CALL, 3, b"after")] * 3
    reader = FrameReader()
    assert read(reader, bytes_of(frames), [5, 100_000, 7]) == frames
    assert len(reader.space()) == 256 * 1024, "the room for the large one is given back"


# Sizes that are allowed but large would only have the test reserve memory.
SIZES = st.integers(0, 60) | st.integers(MOST_PAYLOAD + 1, 2**32 - 1)
HEADS = st.builds(HEADER.pack, SIZES, st.integers(0, 2**32 - 1), st.integers(0, 255))


@settings(deadline=None)
@given(st.lists(HEADS | st.builds(bytes.__add__, HEADS, st.binary(max_size=60)), max_size=8).map(b"".join))
def test_any_bytes_are_frames_or_told_to_be_none(data: bytes) -> None:
    try:
        found = read(FrameReader(), data, [])
    except BrokenFrames:
        return
    assert bytes_of(found) == data[: len(bytes_of(found))]


@pytest.mark.parametrize(("size", "kind"), [(0, 0), (0, max(Kind) + 1), (0, 255), (MOST_PAYLOAD + 1, int(Kind.REPLY))])
def test_an_unknown_kind_or_an_endless_frame_is_refused(size: int, kind: int) -> None:
    with pytest.raises(BrokenFrames, match=f"kind {kind} with {size} bytes"):
        read(FrameReader(), HEADER.pack(size, 1, kind), [])


@settings(deadline=None)
@given(METADATA)
def test_metadata_keeps_text_and_bytes(metadata: list[tuple[str, str | bytes]]) -> None:
    assert unpack_metadata(memoryview(pack_metadata(metadata))) == tuple(metadata)


@settings(deadline=None)
@given(st.integers(0, 2**16 - 1), st.floats(0, allow_infinity=True), METADATA, st.binary(max_size=100))
def test_the_opening_of_a_call_keeps_all_that_the_caller_sent(
    method: int, seconds: float, metadata: list[tuple[str, str | bytes]], request: bytes
) -> None:
    payload = memoryview(pack_opening(method, seconds, metadata) + request)
    assert Opening.unpack(payload) == Opening(method, seconds, tuple(metadata), request)


@settings(deadline=None)
@given(st.integers(0, 16), st.text(max_size=200), METADATA)
def test_a_status_keeps_its_sentence_and_details(
    code: int, details: str, metadata: list[tuple[str, str | bytes]]
) -> None:
    status = Status(code, details, tuple(metadata))
    assert Status.unpack(memoryview(status.pack())) == status


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_a_payload_that_is_no_opening_or_status_raises_what_a_link_takes_for_broken(data: bytes) -> None:
    for unpack in (Opening.unpack, Status.unpack):
        try:
            unpack(memoryview(data))
        except (struct.error, ValueError):
            continue
