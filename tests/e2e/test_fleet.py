"""One loaded fleet: it answers, holds only what is placed on it, and comes back from the bucket alone."""

from __future__ import annotations

import grpc
import pytest
from fleet import ROWS, Fleet, forwarded, rows
from waiting import eventually

from vectorfleet.v1 import peer_pb2, peer_pb2_grpc


def test_it_answers_like_an_exact_search(loaded: Fleet) -> None:
    keys, vectors = rows(ROWS, 1)
    _, queries = rows(20, 7)
    exact = [{keys[row] for row in (-scores).argsort()[:10]} for scores in queries @ vectors.T]
    found = [set(hits) for hits in loaded.answers()]
    recall = sum(len(want & have) for want, have in zip(exact, found, strict=True)) / 200
    assert recall >= 0.9


def test_any_node_answers_for_the_whole_collection(loaded: Fleet) -> None:
    for pod in loaded.pods():
        with loaded.client(pod["metadata"]["name"]) as client:
            assert client.count(loaded.name) == ROWS
            assert client.count(loaded.name, filter='lang == "en"') == ROWS // 3


def test_replicas_of_a_shard_stand_in_different_zones(loaded: Fleet) -> None:
    zones = {
        node["metadata"]["name"]: node["metadata"]["labels"].get("topology.kubernetes.io/zone")
        for node in loaded.json("nodes")["items"]
    }
    zone_of = {pod["metadata"]["name"]: zones[pod["spec"]["nodeName"]] for pod in loaded.pods()}
    with loaded.client() as client:
        shards = client.describe(loaded.name).shards
    for shard in shards:
        assert len({zone_of[replica.node] for replica in shard.replicas}) == 2, shard


def test_a_node_loads_only_what_is_placed_on_it(loaded: Fleet) -> None:
    with loaded.client() as client:
        shards = client.describe(loaded.name).shards
    for pod in loaded.pods():
        name = pod["metadata"]["name"]
        placed = {shard.id for shard in shards if name in [replica.node for replica in shard.replicas]}
        cached = loaded.kubectl("exec", name, "--", "sh", "-c", "ls -d /var/cache/vectorfleet/*/*/ || true")
        assert {int(folder.rstrip("/").rsplit("/", 1)[1]) for folder in cached.split()} == placed
        assert (loaded.metric(name, "vectorfleet_node_shard_rows") > 0) == bool(placed)


def test_every_pod_and_volume_gone_changes_no_answer_and_builds_no_index(loaded: Fleet) -> None:
    before = loaded.answers()
    old = {pod["metadata"]["uid"] for pod in loaded.pods()}
    loaded.kubectl("delete", "pods,pvc", "-l", f"vectorfleet.io/collection={loaded.name}", "--wait=false")
    loaded.wait_for_new_pods(old)
    loaded.wait_for("FullyReplicated")
    assert loaded.answers() == before
    for pod in loaded.pods():
        assert loaded.metric(pod["metadata"]["name"], "vectorfleet_node_index_builds_total") == 0


@pytest.mark.parametrize("metadata", [None, [("authorization", "Bearer wrong")]], ids=["none", "wrong"])
def test_a_peer_call_without_the_secret_is_refused(loaded: Fleet, metadata: list[tuple[str, str]] | None) -> None:
    pod = loaded.pods()[0]["metadata"]["name"]
    request = peer_pb2.PutTopologyRequest(topology=b"{}")
    with (
        forwarded(loaded.commands, loaded.namespace, f"pod/{pod}", 7301) as address,
        grpc.insecure_channel(address) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        peer_pb2_grpc.PeerStub(channel).PutTopology(request, metadata=metadata, timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_pods_have_no_kubernetes_credentials_and_a_read_only_root(loaded: Fleet) -> None:
    for pod in loaded.pods():
        assert pod["spec"]["automountServiceAccountToken"] is False
        container = pod["spec"]["containers"][0]["securityContext"]
        assert container["readOnlyRootFilesystem"] is True
        assert container["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize(
    "kind",
    ["service/{}", "service/{}-peers", "configmap/{}-topology", "pdb/{}", "networkpolicy/{}", "serviceaccount/{}"],
)
def test_a_deleted_child_comes_back(loaded: Fleet, kind: str) -> None:
    child = kind.format(loaded.name)
    loaded.kubectl("delete", child)
    eventually(
        lambda: loaded.commands.kubectl("-n", loaded.namespace, "get", child, check=False).returncode == 0,
        timeout=30,
        what=f"{child} made again",
    )


def test_kubectl_get_shows_shards_replicas_rows_ready_and_age(loaded: Fleet) -> None:
    heading, row = loaded.kubectl("get", "vc", loaded.name).splitlines()
    shown = dict(zip(heading.split(), row.split(), strict=True))
    assert {"NAME", "SHARDS", "REPLICAS", "ROWS", "READY", "AGE"} <= set(shown)
    assert shown["ROWS"] == str(ROWS)
    assert shown["READY"] == "True"


def test_kubectl_explain_helps(operator: Fleet) -> None:
    text = operator.kubectl("explain", "vc.spec.storage").stdout
    for field in ("url", "volume", "endpoint", "credentials"):
        assert field in text
    assert "s3://" in text


def test_events_tell_what_happened(loaded: Fleet) -> None:
    events = loaded.json("events")["items"]
    reasons = {event["reason"] for event in events if event["involvedObject"]["kind"] == "VectorCollection"}
    assert "Ready" in reasons or "BecameReady" in reasons, reasons
