"""Every decoder, against bytes that are cut, flipped or made to do harm: an error of ours that names the object."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from objects import OURS, Object, every_object, flipped, stretched, truncated

OBJECTS = every_object()
SEED = 20261125
FLIPS, STRETCHES = 800, 800
PER_BYTE, BESIDES = 40, 4 << 20  # memory a decoder may take for a byte of input, and beside that
everyone = pytest.mark.parametrize("name", OBJECTS)
resealable = pytest.mark.parametrize("name", [name for name, found in OBJECTS.items() if found.reseal])


def outcome(found: Object, data: bytes) -> str:
    """What the decoder said; "" when it took the bytes."""
    try:
        found.decode(data)
    except OURS as error:
        return str(error)
    return ""


@everyone
def test_what_was_written_is_read(name: str) -> None:
    assert outcome(OBJECTS[name], OBJECTS[name].data) == ""


@everyone
def test_a_cut_object_is_refused_and_named_wherever_it_was_cut(name: str) -> None:
    found = OBJECTS[name]
    for data in truncated(found.data):
        assert len(data) == found.bare or found.name in outcome(found, data), (
            f"cut to {len(data)} of {len(found.data)} bytes"
        )


@everyone
def test_a_flipped_bit_is_found_wherever_it_is(name: str) -> None:
    found, rng = OBJECTS[name], random.Random(SEED)
    for data in flipped(found.data, rng, FLIPS):
        said = outcome(found, data)
        assert found.name in said or (not said and not found.checksummed)


@resealable
def test_no_contents_behind_a_right_checksum_break_the_decoder(name: str) -> None:
    found, rng = OBJECTS[name], random.Random(SEED)
    assert found.reseal is not None
    spoilt = [*truncated(found.data), *flipped(found.data, rng, FLIPS), *stretched(found.data, rng, STRETCHES)]
    refused = sum(bool(outcome(found, found.reseal(data))) for data in spoilt if len(data) > 32)
    assert refused > len(spoilt) / 20 or name == "vectors", "the parser behind the checksum was not reached"


@everyone
def test_no_object_makes_a_decoder_take_much_more_memory_than_its_own_size(name: str) -> None:
    found, rng = OBJECTS[name], random.Random(SEED)
    reseal = found.reseal or bytes
    outcome(found, found.data)  # what is imported or cached once
    for data in [*stretched(found.data, rng, 300), *truncated(found.data)][::3]:
        hostile = reseal(data) if len(data) > 32 else data
        tracemalloc.start()
        outcome(found, hostile)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < PER_BYTE * len(hostile) + BESIDES
