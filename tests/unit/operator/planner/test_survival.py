"""The operator is killed after any of its actions, again and again, while users change their minds."""

from __future__ import annotations

import random

import pytest
from operator_world import NAME, World, spec_json

from vectorfleet_operator.model import names


def random_spec(chance: random.Random) -> dict[str, object]:
    nodes = chance.randint(1, 5)
    return spec_json(chance.randint(1, 6), chance.randint(1, min(2, nodes)), nodes)


def disturb(world: World, chance: random.Random) -> None:
    """A user or an accident. Shards and replicas stay, since they are immutable or need nodes."""
    assert world.resource is not None
    replicas = world.resource["spec"]["sharding"]["replicas"]
    match chance.randrange(6):
        case 0:
            world.edit({"nodes": {**world.resource["spec"]["nodes"], "count": chance.randint(replicas, 6)}})
        case 1:
            world.edit({"suspend": chance.random() < 0.3})
        case 2:
            world.edit({"nodes": {**world.resource["spec"]["nodes"], "image": f"node:{chance.randint(2, 4)}"}})
        case 3 if world.pods:
            world.kill(chance.choice(sorted(world.pods)))
        case 4 if world.children:
            del world.children[chance.choice(sorted(world.children))]
        case _:
            world.edit({"consistency": {"default": chance.choice(["Strong", "Eventual"])}})


@pytest.mark.parametrize("seed", range(25))
def test_an_operator_killed_at_any_action_converges(seed: int) -> None:
    chance = random.Random(seed)
    world = World(random_spec(chance), zones=chance.randint(1, 3), load_passes=chance.randint(1, 4))
    for _ in range(60):
        made = world.plan()
        world.act(made, limit=chance.randint(0, len(made.actions)))
        for _ in range(chance.randint(0, 2)):
            world.live()
        if chance.random() < 0.2:
            disturb(world, chance)
    world.edit({"suspend": False})
    made = world.converge()
    assert world.resource is not None
    spec = world.resource["spec"]
    assert made.actions == (), seed
    assert len(world.pods) == spec["nodes"]["count"], seed
    assert {len(nodes) for nodes in world.placement().values()} == {spec["sharding"]["replicas"]}, seed
    assert world.condition("FullyReplicated")["status"] == "True", seed
    assert world.condition("Ready")["status"] == "True", seed
    assert {node.topology.order for node in world.nodes.values()} == {world.topology.order}, seed


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("seed", range(10))
def test_a_deletion_ends_wherever_the_operator_is_killed(seed: int, policy: str) -> None:
    chance = random.Random(seed)
    world = World({**random_spec(chance), "deletionPolicy": policy})
    world.converge()
    world.delete()
    for _ in range(80):
        if world.resource is None:
            break
        made = world.plan()
        world.act(made, limit=chance.randint(0, len(made.actions)))
        if chance.random() < 0.7:
            world.live()
    assert world.resource is None, seed
    assert world.purged == (policy == "Delete"), seed


@pytest.mark.parametrize("seed", range(12))
def test_scaling_never_leaves_a_shard_without_a_node_that_serves_it(seed: int) -> None:
    chance = random.Random(seed)
    world = World(spec_json(chance.randint(1, 8), 1, chance.randint(1, 5)), load_passes=3)
    world.converge()
    shards = set(world.placement())
    for _ in range(6):
        assert world.resource is not None
        world.edit({"nodes": {"count": chance.randint(1, 6)}})
        for _ in range(chance.randint(1, 15)):
            made = world.plan()
            world.act(made, limit=chance.randint(0, len(made.actions)))
            assert world.served() == shards, seed
            world.live()
            assert world.served() == shards, seed
    world.converge()


def test_a_new_image_replaces_one_pod_at_a_time_and_every_shard_stays_served() -> None:
    world = World(spec_json(shards=4, replicas=2, nodes=4))
    world.converge()
    world.edit({"nodes": {"count": 4, "image": "node:2"}})
    for _ in range(60):
        world.act(world.plan())
        assert world.served() == set(range(4))
        assert sum(pod.ready for pod in world.pods.values()) >= 3
        world.live()
    world.converge()
    assert sorted(world.deleted_pods) == sorted(f"{NAME}-{number}" for number in range(4))
    assert {pod.revision for pod in world.pods.values()} == {"node:2"}
    assert names.FINALIZER in world.observe().finalizers
