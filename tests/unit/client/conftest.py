"""A fake fleet with one collection, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vectorfleet import Client, RetryPolicy
from vectorfleet.testing import FakeFleet


@pytest.fixture
def fleet() -> Iterator[FakeFleet]:
    with FakeFleet() as running:
        yield running


@pytest.fixture
def client(fleet: FakeFleet) -> Iterator[Client]:
    with Client(fleet.address, retry=RetryPolicy(attempts=4, first=0.001)) as made:
        made.create_collection(
            "things", 3, fields={"lang": "String", "year": "Int64", "price": "Float64", "sold": "Bool"}
        )
        fleet.requests.clear()
        fleet.calls.clear()
        yield made
