"""A VectorCollection under test: its manifest, what kubectl says of it, and a client that reaches it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from clusters import ROOT, Commands, ObjectStore
from numpy.typing import NDArray
from waiting import eventually

from vectorfleet import Client

DIMENSIONS = 32
ROWS = 12_000  # in two shards: enough for an index in each
SECRET = "storage"
Json = dict[str, Any]


def rows(count: int, seed: int) -> tuple[list[str], NDArray[np.float32]]:
    """`count` keys and random unit vectors, the same for the same seed."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSIONS), dtype=np.float32)
    return [f"row-{number}" for number in range(count)], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@contextlib.contextmanager
def forwarded(commands: Commands, namespace: str, target: str, port: int) -> Iterator[str]:
    """`localhost:<port>` that leads to `port` of `target` (e.g. pod/x) through the API server."""
    process = subprocess.Popen(
        [str(ROOT / ".venv/bin/kubectl"), "-n", namespace, "port-forward", target, f":{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "KUBECONFIG": str(commands.kubeconfig)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, f"port-forward to {target}: {line}{process.stdout.read()}"
        yield f"127.0.0.1:{found[1]}"
    finally:
        process.kill()
        process.wait()


@dataclass
class Fleet:
    """One VectorCollection in one namespace."""

    commands: Commands
    namespace: str
    name: str
    url: str
    store: ObjectStore

    def manifest(self, **spec: Any) -> Json:
        """The resource, with top-level fields of the spec replaced by `spec` (None leaves one out)."""
        fields: Json = {
            "vectors": [{"name": "default", "dimensions": DIMENSIONS, "metric": "Cosine"}],
            "fields": [{"name": "lang", "type": "String", "indexed": True}],
            "sharding": {"shards": 2, "replicas": 2},
            "storage": {
                "url": self.url,
                "endpoint": self.store.endpoint,
                "credentials": {"secretRef": {"name": SECRET}},
            },
            "nodes": {"count": 3},
        }
        merged = {key: value for key, value in {**fields, **spec}.items() if value is not None}
        return {
            "apiVersion": "vectorfleet.io/v1alpha1",
            "kind": "VectorCollection",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": merged,
        }

    def kubectl(self, *args: str, **options: Any) -> str:
        return str(self.commands.kubectl("-n", self.namespace, *args, **options).stdout)

    def json(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def apply(self, **spec: Any) -> None:
        self.kubectl("apply", "-f", "-", input=json.dumps(self.manifest(**spec)))

    def patch(self, spec: Json) -> None:
        self.kubectl("patch", "vc", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def make_secret(self, secret_key: str | None = None) -> None:
        """Makes or replaces the Secret with the store's credentials."""
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": self.namespace},
            "stringData": {
                "AWS_ACCESS_KEY_ID": self.store.access_key,
                "AWS_SECRET_ACCESS_KEY": secret_key or self.store.secret_key,
            },
        }
        self.kubectl("apply", "-f", "-", input=json.dumps(manifest))

    @property
    def status(self) -> Json:
        return dict(self.json("vc", self.name).get("status", {}))

    def condition(self, kind: str) -> Json:
        """A condition of the status that is about the present spec; {} where there is none yet."""
        resource = self.json("vc", self.name)
        status = resource.get("status", {})
        if status.get("observedGeneration") != resource["metadata"]["generation"]:
            return {}
        return next((dict(c) for c in status.get("conditions", []) if c["type"] == kind), {})

    def wait_for(self, kind: str, value: str = "True", reason: str | None = None, timeout: float = 90) -> Json:
        """The condition `kind` once it is `value` (and has `reason`)."""

        def check() -> Json | None:
            found = self.condition(kind)
            matches = found.get("status") == value and reason in (None, found.get("reason"))
            return found if matches else None

        try:
            return eventually(check, timeout=timeout, what=f"{self.name}: {kind}={value} {reason or ''}")
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{self.kubectl('get', 'vc,sts,pods', '-o', 'wide')}\n{self.status}"
            ) from None

    def pods(self) -> list[Json]:
        return list(self.json("pods", "-l", f"vectorfleet.io/collection={self.name}")["items"])

    def wait_for_new_pods(self, old: set[str]) -> None:
        """Waits until as many pods are ready as there were, none of which has one of the `old` uids."""

        def replaced() -> bool:
            pods = self.pods()
            ready = [
                condition["status"] == "True"
                for pod in pods
                for condition in pod.get("status", {}).get("conditions", [])
                if condition["type"] == "Ready"
            ]
            new = {pod["metadata"]["uid"] for pod in pods}
            return len(ready) == len(old) and all(ready) and not old & new

        eventually(replaced, timeout=120, what=f"{self.name}: {len(old)} new pods are ready")

    @contextlib.contextmanager
    def client(self, pod: str | None = None) -> Iterator[Client]:
        """A client of one pod (the first ready one by default), through the API server."""
        with forwarded(self.commands, self.namespace, f"pod/{pod}" if pod else f"service/{self.name}", 7300) as address:
            client = Client(address)
            try:
                yield client
            finally:
                client.close()

    def load(self, count: int, seed: int) -> None:
        """Writes `rows(count, seed)`, every third in English."""
        keys, vectors = rows(count, seed)
        with self.client() as client:
            for start in range(0, count, 2000):
                part = slice(start, start + 2000)
                languages = ["en" if number % 3 == 0 else "de" for number in range(count)[part]]
                client.upsert(self.name, keys[part], vectors[part], fields={"lang": languages})

    def wait_until_sealed(self) -> None:
        """Waits until every shard's rows are in sealed segments with an index."""

        def sealed() -> bool:
            with self.client() as client:
                replicas = [replica for shard in client.describe(self.name).shards for replica in shard.replicas]
            return all(
                replica.ready and set(replica.indexes) - {"Exact"} and not replica.growing_rows for replica in replicas
            )

        eventually(sealed, timeout=60, what=f"{self.name}: all rows sealed and indexed", every=1)

    def answers(self, queries: int = 20, seed: int = 7) -> list[list[str]]:
        """The keys that the fleet finds for some queries; the same data gives the same answers."""
        _, vectors = rows(queries, seed)
        with self.client() as client:
            results = client.search(self.name, vectors, k=10, consistency="Strong")
            return [[str(hit.key) for hit in hits] for hits in results.hits]

    def metric(self, pod: str, name: str) -> float:
        """The sum of a metric's samples on one pod."""
        with forwarded(self.commands, self.namespace, f"pod/{pod}", 7302) as address:
            text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
        samples = [line for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in samples)
