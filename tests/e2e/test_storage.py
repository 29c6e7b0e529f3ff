"""Whose data it is, and what happens when the object store refuses, or is gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import DevCluster, ObjectStore
from fleet import DIMENSIONS, Fleet, rows
from waiting import eventually

from vectorfleet import Unavailable


def test_a_second_claimant_is_refused_in_its_status(loaded: Fleet, fleet: Fleet) -> None:
    rival = Fleet(fleet.commands, fleet.namespace, "rival", loaded.url, loaded.store)
    rival.apply()
    refused = rival.wait_for("Ready", "False", reason="ClaimedByOther")
    assert f"{loaded.namespace}/{loaded.name}" in refused["message"]
    assert rival.condition("Stalled")["status"] == "True"
    assert loaded.condition("Ready")["status"] == "True"


def test_a_changed_schema_is_refused_in_the_status(fleet: Fleet) -> None:
    fleet.apply(sharding={"shards": 1, "replicas": 1}, nodes={"count": 1})
    fleet.wait_for("Ready")
    fleet.kubectl("delete", "vc", fleet.name, "--timeout=60s")
    fleet.apply(
        sharding={"shards": 1, "replicas": 1},
        nodes={"count": 1},
        vectors=[{"name": "default", "dimensions": DIMENSIONS * 2, "metric": "Cosine"}],
    )
    refused = fleet.wait_for("Ready", "False", reason="SchemaMismatch")
    assert f"{DIMENSIONS} x Cosine in the data" in refused["message"]


def test_a_wrong_secret_is_told_within_30_seconds_and_a_mended_one_heals(fleet: Fleet) -> None:
    fleet.make_secret("not-the-key")
    fleet.apply()
    fleet.wait_for("Ready", "False", reason="CredentialsRefused", timeout=30)
    fleet.make_secret()
    fleet.wait_for("Ready", timeout=120)


def test_a_missing_secret_is_named(fleet: Fleet) -> None:
    fleet.kubectl("delete", "secret", "storage")
    fleet.apply()
    told = fleet.wait_for("Ready", "False", reason="CredentialsMissing", timeout=30)
    assert "storage" in told["message"]


@pytest.fixture
def dead_store(devcluster: DevCluster, fleet: Fleet) -> Iterator[Fleet]:
    """A loaded fleet whose object store is gone."""
    fleet.apply()
    fleet.wait_for("FullyReplicated")
    fleet.load(300, seed=6)
    fleet.answers()
    devcluster.stop_store()
    try:
        yield fleet
    finally:
        devcluster.start_store()


def test_with_a_dead_store_writes_and_strong_reads_fail_and_the_others_go_on(dead_store: Fleet) -> None:
    keys, vectors = rows(1, 8)
    with dead_store.client() as client:
        with pytest.raises(Unavailable):
            client.upsert(dead_store.name, keys, vectors, fields={"lang": ["en"]}, timeout=15)
        with pytest.raises(Unavailable):
            client.search(dead_store.name, vectors, k=3, consistency="Strong", timeout=15)
        for level in ("Session", "Eventual"):
            assert len(client.search(dead_store.name, vectors, k=3, consistency=level).hits[0]) == 3
        assert len(client.search(dead_store.name, vectors, k=3, consistency="Bounded", max_staleness=600).hits[0]) == 3
        with pytest.raises(Unavailable):
            client.search(dead_store.name, vectors, k=3, consistency="Bounded", max_staleness=0.001)
    dead_store.wait_for("Ready", "False", reason="StorageUnreachable", timeout=60)
    assert dead_store.condition("Available")["status"] == "True"


def test_a_store_that_comes_back_takes_writes_again(
    devcluster: DevCluster, dead_store: Fleet, store: ObjectStore
) -> None:
    devcluster.start_store()
    keys, vectors = rows(1, 9)

    def written() -> bool:
        try:
            with dead_store.client() as client:
                client.upsert(dead_store.name, keys, vectors, fields={"lang": ["en"]}, timeout=5)
        except Unavailable:
            return False
        return True

    eventually(written, timeout=30, what="a write lands again")
    dead_store.wait_for("Ready")


def test_one_node_on_a_volume_needs_no_bucket_and_keeps_its_data(fleet: Fleet) -> None:
    spec = {
        "storage": {"volume": {"size": "1Gi"}},
        "sharding": {"shards": 2, "replicas": 1},
        "nodes": {"count": 1},
    }
    fleet.apply(**spec)
    fleet.wait_for("Ready")
    fleet.load(500, seed=13)
    before = fleet.answers()
    old = {pod["metadata"]["uid"] for pod in fleet.pods()}
    fleet.kubectl("delete", "pods", "-l", f"vectorfleet.io/collection={fleet.name}", "--force", "--grace-period=0")
    fleet.wait_for_new_pods(old)
    assert fleet.answers() == before
    fleet.kubectl("delete", "vc", fleet.name, "--timeout=60s")
    eventually(lambda: not fleet.pods(), timeout=60, what="no pods")
    fleet.apply(**spec)
    fleet.wait_for("Ready")
    assert fleet.answers() == before
