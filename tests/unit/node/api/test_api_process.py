"""The processes: what `vectorfleet-node` and the stand-alone server do when started, told to stop, and killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from real_fleet import NAME, SECRET, free_port, schema, search, upsert, vectors

from vectorfleet.topology import Claim, CollectionTopology, NodeAddress, ShardPlacement, StorageLocation, Topology
from vectorfleet.v1 import vectorfleet_pb2 as pb
from vectorfleet.v1 import vectorfleet_pb2_grpc
from vectorfleet_node.main import main

KEYS = [f"row-{number}" for number in range(30)]
SERVE = """
import asyncio, sys
from pathlib import Path
from vectorfleet_node.standalone import serve
try:
    asyncio.run(serve(Path(sys.argv[1]), port=0, on_ready=lambda address: print(address, flush=True)))
except OSError as error:
    sys.exit(str(error))
"""


def wait(check: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    deadline = time.monotonic() + timeout
    while not (last := check()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return last


@contextlib.contextmanager
def standalone(data: Path) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A stand-alone server on `data` and a client of it."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(data)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with grpc.insecure_channel(address) as channel:
            yield process, vectorfleet_pb2_grpc.VectorFleetStub(channel)  # type: ignore[no-untyped-call]
    finally:
        process.kill()
        process.wait()


CREATE = pb.CreateCollectionRequest(
    name=NAME, vectors=[pb.VectorInfo(dimensions=4)], fields=[pb.FieldInfo(name="lang", type="String")], shards=2
)


def test_a_killed_stand_alone_server_comes_back_at_once_with_its_data(tmp_path: Path) -> None:
    with standalone(tmp_path / "data") as (process, api):
        made = api.CreateCollection(CREATE)
        assert api.CreateCollection(CREATE) == made
        api.Upsert(upsert(KEYS))
        before = api.Search(search(vectors(1)))
        process.kill()
        process.wait()
    with standalone(tmp_path / "data") as (process, api):
        assert api.Search(search(vectors(1))).results == before.results
        assert api.Count(pb.CountRequest(collection=NAME)).count == len(KEYS)
        api.Upsert(upsert(["one more"]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_what_rots_in_a_stand_alone_servers_folder_is_healed_by_its_other_copy(tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "data" / ".cache"
    (cache / "of a collection that is gone").mkdir(parents=True)
    with standalone(data) as (_, api):
        api.CreateCollection(CREATE)
        api.Upsert(upsert(KEYS))
        wait(lambda: all(shard.replicas[0].indexes for shard in described(api)), "it is flushed")
        before = api.Search(search(vectors(1)))
    for copies in (cache, data / NAME):
        for path in copies.rglob("*.vectors"):
            body = path.read_bytes()
            path.write_bytes(bytes([body[0] ^ 1]) + body[1:])
        with standalone(data) as (_, api):
            assert api.Search(search(vectors(1))).results == before.results
            assert [shard.replicas[0].quarantined for shard in described(api)] == [1, 1], "the files of the cache"
    assert not (cache / "of a collection that is gone").exists()


def described(api: Any) -> list[pb.ShardInfo]:
    return list(api.Describe(pb.DescribeRequest(collection=NAME)).collections[0].shards)


def test_two_stand_alone_servers_never_share_a_folder(tmp_path: Path) -> None:
    with standalone(tmp_path) as (first, _):
        second = subprocess.run([sys.executable, "-c", SERVE, str(tmp_path)], capture_output=True, text=True)
        assert second.returncode != 0
        assert str(first.pid) in second.stderr
        assert "in use" in second.stderr
        assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"name": "Not A Name"}, grpc.StatusCode.INVALID_ARGUMENT, "name"),
        ({"vectors": []}, grpc.StatusCode.INVALID_ARGUMENT, "vectors"),
        ({"vectors": [pb.VectorInfo(dimensions=0)]}, grpc.StatusCode.INVALID_ARGUMENT, "dimensions"),
        ({"vectors": [pb.VectorInfo(dimensions=4, metric="Hamming")]}, grpc.StatusCode.INVALID_ARGUMENT, "Cosine"),
        ({"fields": [pb.FieldInfo(name="x", type="Blob")]}, grpc.StatusCode.INVALID_ARGUMENT, "String"),
        (
            {"fields": [pb.FieldInfo(name="meta", type="Json", indexed=True)]},
            grpc.StatusCode.INVALID_ARGUMENT,
            "fields.indexed: meta is Json and cannot be indexed",
        ),
        ({"key_type": "UUID"}, grpc.StatusCode.INVALID_ARGUMENT, "key_type"),
        (
            {"vectors": [pb.VectorInfo(dimensions=4, index="PQ", quantization="Int8")]},
            grpc.StatusCode.INVALID_ARGUMENT,
            "quantization Int8 is for graphs and index PQ has none",
        ),
        ({"vectors": [pb.VectorInfo(dimensions=8)]}, grpc.StatusCode.ALREADY_EXISTS, "4 x Cosine in the data"),
    ],
)
def test_a_collection_that_cannot_be_made_is_refused_with_the_reason(
    server: Any, change: dict[str, Any], code: grpc.StatusCode, told: str
) -> None:
    fields = {"name": NAME, "vectors": CREATE.vectors, "fields": CREATE.fields, "shards": 2}
    with pytest.raises(grpc.RpcError) as refused:
        server.CreateCollection(pb.CreateCollectionRequest(**{**fields, **change}))
    assert refused.value.code() == code
    assert told in refused.value.details()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with standalone(tmp_path_factory.mktemp("data")) as (_, api):
        api.CreateCollection(CREATE)
        yield api


class Pod:
    """A fleet of one node as the operator would run it, on a folder instead of a bucket."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.api, self.http = free_port(), free_port()
        peer = free_port()
        (folder / "secret").write_text(SECRET)
        self.topology = Topology(
            version=1,
            nodes=(NodeAddress(name="pod-0", peer=f"127.0.0.1:{peer}"),),
            collections=(
                CollectionTopology(
                    name=NAME,
                    claim=Claim(cluster="c", namespace="n", name=NAME),
                    storage=StorageLocation(url=self.data.as_uri()),
                    collection=schema(),
                    shards=tuple(ShardPlacement(id=shard, replicas=("pod-0",)) for shard in (0, 1)),
                ),
            ),
        )
        self.file = folder / "topology.json"
        self.environment = {
            **os.environ,
            "VECTORFLEET_NODE": "pod-0",
            "VECTORFLEET_TOPOLOGY": str(self.file),
            "VECTORFLEET_PEER_SECRET": str(folder / "secret"),
            "VECTORFLEET_CREDENTIALS": str(folder / "credentials"),
            "VECTORFLEET_CACHE": str(folder / "cache"),
            "VECTORFLEET_HOST": "127.0.0.1",
            "VECTORFLEET_API_PORT": str(self.api),
            "VECTORFLEET_PEER_PORT": str(peer),
            "VECTORFLEET_HTTP_PORT": str(self.http),
            "VECTORFLEET_DRAIN_SECONDS": "1",
            "VECTORFLEET_CACHE_BYTES": "1000000000",
        }
        self.command = [sys.executable, "-c", "from vectorfleet_node.main import main; main()"]

    def purge(self) -> subprocess.CompletedProcess[str]:
        """Deletes the data, as the operator's Job does."""
        return subprocess.run(
            [*self.command, "purge"], env=self.environment, capture_output=True, text=True, timeout=60
        )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


def test_a_pod_waits_for_its_topology_serves_drains_and_its_data_is_purged(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    process = subprocess.Popen(pod.command, env=pod.environment)
    try:
        wait(lambda: pod.get("/healthz")[0] == 200, "it lives")
        status, waiting = pod.get("/readyz")
        assert (status, "topology.json cannot be read" in waiting) == (503, True), waiting
        pod.file.write_text(pod.topology.model_dump_json())
        wait(lambda: pod.get("/readyz")[0] == 200, "it is ready")
        with grpc.insecure_channel(f"127.0.0.1:{pod.api}") as channel:
            api: Any = vectorfleet_pb2_grpc.VectorFleetStub(channel)  # type: ignore[no-untyped-call]
            api.Upsert(upsert(KEYS), timeout=20)
            metrics = pod.get("/metrics")[1]
            assert 'vectorfleet_node_shard_rows{collection="things",shard="0"}' in metrics
            assert 'requests_total{code="OK",method="VectorFleet/Upsert"} 1.0' in metrics
            assert "vectorfleet_node_index_builds_total 0.0" in metrics
            assert "vectorfleet_node_cache_budget_bytes 1e+09" in metrics
            assert "vectorfleet_node_scrubbed_bytes_total 0.0" in metrics
            with pytest.raises(grpc.RpcError) as refused:
                api.CreateCollection(CREATE)
            assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            process.send_signal(signal.SIGTERM)
            wait(lambda: pod.get("/readyz") == (503, "draining: this node is about to stop\n"), "it drains")
            assert api.Count(pb.CountRequest(collection=NAME), timeout=5).count == len(KEYS)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert (pod.data / "collection.json").exists()
    purged = pod.purge()
    assert purged.returncode == 0, purged.stderr
    assert [path.name for path in pod.data.rglob("*") if path.is_file()] == ["deleted"]


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        ((), {"VECTORFLEET_API_PORT": "seven"}, "VECTORFLEET_API_PORT='seven'"),
        ((), {"VECTORFLEET_LOG_LEVEL": "loud"}, "'debug', 'info', 'warning' or 'error'"),
        (("purge",), {"VECTORFLEET_TOPOLOGY": "/absent"}, "/absent cannot be read"),
    ],
)
def test_what_cannot_be_started_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["vectorfleet-node", *arguments])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main()
    message = str(ended.value.code)
    assert told in message
    assert message.startswith("vectorfleet-node: ")
    assert len(message.splitlines()) == 1
