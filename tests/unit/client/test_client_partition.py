"""Which keys are a shard's: said by key and by range of hashes, and both say the same."""

from __future__ import annotations

import pytest

from vectorfleet.partition import hashes_of, key_digest, shard_of


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 64])
def test_the_ranges_of_a_collections_shards_hold_the_keys_of_each_and_leave_no_gap(shards: int) -> None:
    ranges = [hashes_of(shard, shards) for shard in range(shards)]
    assert [hashes.start for hashes in ranges] == [0, *(hashes.stop for hashes in ranges[:-1])]
    assert ranges[-1].stop == 1 << 64
    for key in [*range(500), *(f"k{number}" for number in range(500))]:
        assert int.from_bytes(key_digest(key), "big") in ranges[shard_of(key, shards)]
