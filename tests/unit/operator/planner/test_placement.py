"""Placement: spread, balanced, deterministic, and moving no more than it must."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from vectorfleet_operator.planner.placement import Host, place, step

SEEDS = range(60)


def hosts(count: int, zones: int) -> list[Host]:
    return [Host(f"x-{number}", f"z{number % zones}", f"host-{number}") for number in range(count)]


def load(placement: dict[int, tuple[str, ...]], names: list[Host]) -> list[int]:
    counts = Counter(node for nodes in placement.values() for node in nodes)
    return [counts[host.name] for host in names]


def moves(before: dict[int, tuple[str, ...]], after: dict[int, tuple[str, ...]]) -> int:
    return sum(len(set(nodes) - set(before.get(shard, ()))) for shard, nodes in after.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_every_shard_has_its_replicas_on_different_nodes_and_zones_and_loads_differ_by_one(seed: int) -> None:
    chance = random.Random(seed)
    zones, per_zone = chance.randint(1, 4), chance.randint(1, 5)
    names = hosts(zones * per_zone, zones)
    shards, replicas = chance.randint(1, 30), chance.randint(1, 4)
    placed = place(shards, replicas, names, {})
    zone_of = {host.name: host.zone for host in names}
    for nodes in placed.values():
        assert len(set(nodes)) == len(nodes) == min(replicas, len(names)), seed
        assert len({zone_of[node] for node in nodes}) == min(len(nodes), zones), seed
    if replicas <= zones:
        assert max(load(placed, names)) - min(load(placed, names)) <= 1, seed


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_placed_stays_as_it_is(seed: int) -> None:
    chance = random.Random(seed)
    names = hosts(chance.randint(1, 12), chance.randint(1, 4))
    shards, replicas = chance.randint(1, 30), chance.randint(1, 4)
    start = {
        shard: tuple(chance.sample([host.name for host in names], min(replicas, len(names)))) for shard in range(shards)
    }
    once = place(shards, replicas, names, start)
    assert place(shards, replicas, names, once) == once, seed
    assert place(shards, replicas, names, start) == once, seed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_node_gets_its_share_and_nothing_else_moves(seed: int) -> None:
    chance = random.Random(seed)
    zones = chance.randint(1, 3)
    count = chance.randint(1, 10)
    shards, replicas = chance.randint(1, 30), chance.randint(1, min(3, count))
    before = place(shards, replicas, hosts(count, zones), {})
    after = place(shards, replicas, hosts(count + 1, zones), before)
    new = f"x-{count}"
    fair = -(-shards * replicas // (count + 1))
    assert sum(new in nodes for nodes in after.values()) <= fair + 1, seed
    if zones == 1:
        assert moves(before, after) == sum(new in nodes for nodes in after.values()), seed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leaving_node_moves_only_what_it_held(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(3, 10)
    shards = chance.randint(1, 30)
    before = place(shards, 2, hosts(count, 1), {})
    after = place(shards, 2, hosts(count - 1, 1), before)
    gone = f"x-{count - 1}"
    held = sum(gone in nodes for nodes in before.values())
    assert not any(gone in nodes for nodes in after.values()), seed
    assert moves(before, after) <= held + 1, seed


def test_preferred_leaders_are_spread_and_stay() -> None:
    names = hosts(4, 2)
    placed = place(8, 2, names, {})
    led = Counter(nodes[0] for nodes in placed.values())
    assert max(led.values()) - min(led.values()) <= 1
    assert len(led) == 4


def test_more_replicas_than_nodes_are_as_many_as_there_are_nodes() -> None:
    assert place(1, 3, hosts(2, 1), {}) == {0: ("x-0", "x-1")}
    assert place(2, 3, [], {}) == {0: (), 1: ()}


def test_two_nodes_on_one_host_do_not_share_a_shard_when_another_host_is_there() -> None:
    names = [Host("x-0", "z", "a"), Host("x-1", "z", "a"), Host("x-2", "z", "b")]
    for nodes in place(4, 2, names, {}).values():
        assert "x-2" in nodes


def test_a_move_adds_then_waits_then_drops() -> None:
    present, target = {0: ("x-0",)}, {0: ("x-1",)}
    added = step(present, target, {"x-0": frozenset({0})}, 1)
    assert added == {0: ("x-0", "x-1")}
    assert step(added, target, {"x-0": frozenset({0})}, 1) == added
    both = {"x-0": frozenset({0}), "x-1": frozenset({0})}
    assert step(added, target, both, 1) == target


def test_only_so_many_shards_move_at_once() -> None:
    present = dict.fromkeys(range(5), ("x-0",))
    target = dict.fromkeys(range(5), ("x-1",))
    first = step(present, target, {}, 2)
    assert sum(len(nodes) == 2 for nodes in first.values()) == 2
    assert step(first, target, {}, 2) == first


def test_a_loading_preferred_leader_does_not_displace_one_that_serves() -> None:
    present, target = {0: ("x-0", "x-1")}, {0: ("x-1", "x-0")}
    assert step(present, target, {"x-0": frozenset({0})}, 1) == present
    assert step(present, target, {"x-0": frozenset({0}), "x-1": frozenset({0})}, 1) == target
