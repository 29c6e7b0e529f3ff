"""Makes the shard tests' helpers (`replicas`) importable here, and a collection once per run: tests take copies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "shard"))

from collections_at_rest import Rows, copy_of, make

from vectorfleet_node.storage.memory import MemoryStore


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryStore, Rows]:
    store = MemoryStore()
    return store, asyncio.run(make(store, tmp_path_factory.mktemp("maker")))


@pytest.fixture
def store(made: tuple[MemoryStore, Rows]) -> MemoryStore:
    return copy_of(made[0])


@pytest.fixture
def rows(made: tuple[MemoryStore, Rows]) -> Rows:
    return dict(made[1])
