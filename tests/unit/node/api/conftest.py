"""Fleets of real nodes in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from real_fleet import PLACEMENT, RealFleet, schema

THREE = ("n0", "n1", "n2")


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[RealFleet]:
    """One node with two shards."""
    fleet = RealFleet(tmp_path, schema())
    await fleet.add("n0")
    await fleet.place({0: ("n0",), 1: ("n0",)})
    await fleet.ready()
    yield fleet
    await fleet.stop()


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[RealFleet]:
    """Three nodes, two shards, two replicas of each."""
    fleet = RealFleet(tmp_path, schema())
    await fleet.add(*THREE)
    await fleet.place(PLACEMENT)
    await fleet.ready()
    yield fleet
    await fleet.stop()
