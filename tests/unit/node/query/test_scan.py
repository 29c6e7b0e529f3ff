"""A scan has every matching live row once, in the order of keys, and goes on behind any key."""

from __future__ import annotations

import numpy as np
import pytest
from views import View, block, schema

from vectorfleet.schema import KeyType
from vectorfleet_node.query.filters import compile_filter
from vectorfleet_node.query.scan import in_order, matching_keys, page
from vectorfleet_node.shard.view import Key


@pytest.mark.parametrize("kind", list(KeyType))
@pytest.mark.parametrize("seed", range(8))
def test_pages_put_together_are_the_sorted_rows_of_the_filter(kind: KeyType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    collection = schema(key=kind)
    rows = int(rng.integers(1, 60))
    names = ["", "ä", "z", "Z", "\U0001f600", "é", "zz", "a b"]
    numbers = rng.permutation(10 * rows)[:rows]
    keys: list[Key] = (
        [int(number) * 10**15 - 10**17 for number in numbers]
        if kind is KeyType.INT64
        else [f"{rng.choice(names)}{number}" for number in numbers]
    )
    years, live = rng.integers(0, 3, rows), rng.random(rows) < 0.7
    vectors = rng.standard_normal((rows, 8)).astype(np.float32)
    cut = int(rng.integers(0, rows + 1))
    view = View(
        tuple(
            block(collection, keys[part], vectors[part], live[part], year=years[part].tolist())
            for part in (slice(0, cut), slice(cut, rows))
        )
    )
    chosen = compile_filter("year > 0", collection)
    wanted = sorted(key for key, year, alive in zip(keys, years, live, strict=True) if year > 0 and alive)
    order = in_order(view, collection, chosen)
    size = int(rng.integers(1, 9))
    found: list[Key] = []
    for start in range(0, len(order), size):
        here = page(view, collection, order, start, size, ("year",), True)
        for key, year, vector in zip(here.keys, here.fields["year"].to_pylist(), here.vectors["default"], strict=True):
            assert year == years[keys.index(key)]
            assert vector.tolist() == vectors[keys.index(key)].tolist()
            found.append(key)
    assert found == wanted, f"seed {seed}"
    for after in wanted[:: max(1, len(wanted) // 3)]:
        rest = in_order(view, collection, chosen, after)
        behind = page(view, collection, rest, 0, rows, (), False).keys
        assert behind == [key for key in wanted if key > after], f"seed {seed}"  # type: ignore[operator]
    for limit in (0, 1, len(wanted), len(wanted) + 1):
        some = matching_keys(view, chosen, limit)
        assert len(some) == len(set(some)) == min(limit, len(wanted))
        assert set(some) <= set(wanted)
