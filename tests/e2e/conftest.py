"""Fixtures of the end-to-end tests: one cluster with the chart installed for the session, a namespace for each test.

Run on `--cluster=auto|devcluster|kind|current`; see docs/testing.md.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator

import pytest
from clusters import ROOT, Commands, Current, DevCluster, Kind, ObjectStore, choose
from fleet import ROWS, Fleet

SYSTEM = "vectorfleet-system"
RELEASE = "vectorfleet"
# Tests of what the others did, or that replace the cluster, come last.
LAST = ("test_audit.py", "test_new_cluster.py", "test_removal.py")
FIRST = ("test_admission.py", "test_chart.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", choices=["auto", "devcluster", "kind", "current"], default="auto")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.path.name
        return LAST.index(name) + 1 if name in LAST else FIRST.index(name) - len(FIRST) if name in FIRST else 0

    items.sort(key=rank)


@pytest.fixture(scope="session")
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevCluster | Kind | Current]:
    """The cluster itself, started for this session and stopped after it unless --keep-cluster is given."""
    chosen = choose(request.config.getoption("--cluster"), tmp_path_factory.mktemp("kind"))
    # The first start builds for minutes: its progress has to be seen.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        chosen.start()
    yield chosen
    if not request.config.getoption("--keep-cluster"):
        chosen.stop()


@pytest.fixture(scope="session")
def cluster(machine: DevCluster | Kind | Current) -> Commands:
    """kubectl and helm for the cluster."""
    return Commands(machine)


@pytest.fixture(scope="session")
def devcluster(machine: DevCluster | Kind | Current) -> DevCluster:
    """The cluster, when it is one of those that can be broken on purpose."""
    if not isinstance(machine, DevCluster):
        pytest.skip(f"needs devcluster: {machine.name} cannot stop its S3 server, lose etcd or show its audit log")
    return machine


@pytest.fixture(scope="session")
def images(machine: DevCluster | Kind | Current) -> dict[str, str]:
    """References of the operator's and the node's image, built from this tree and pullable by the cluster."""
    if not machine.images:
        machine.load_images()
    return machine.images


@pytest.fixture(scope="session")
def install_chart(cluster: Commands, images: dict[str, str]) -> Callable[[], None]:
    """Installs (or upgrades) the chart with this tree's images and waits until the operator is available."""

    def install() -> None:
        settings = json.dumps({"image": {"reference": images["operator"]}, "nodeImage": {"reference": images["node"]}})
        values = ROOT / ".cache" / "e2e-values.json"
        values.parent.mkdir(exist_ok=True)
        values.write_text(settings)
        cluster.helm(
            "upgrade", "--install", RELEASE, str(ROOT / "charts/vectorfleet"), "--namespace", SYSTEM,
            "--create-namespace", "--values", str(values), "--wait", "--timeout", "120s",
        )  # fmt: skip

    return install


@pytest.fixture(scope="session")
def operator(cluster: Commands, install_chart: Callable[[], None]) -> Commands:
    """The chart, installed."""
    install_chart()
    return cluster


@pytest.fixture(scope="session")
def bucket(machine: DevCluster | Kind | Current) -> str:
    """A bucket that exists."""
    name = os.environ.get("VECTORFLEET_E2E_BUCKET", "vectorfleet-e2e")
    if not isinstance(machine, Current):
        machine.make_bucket(name)
    return name


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def make_namespace(cluster: Commands) -> Callable[[], contextlib.AbstractContextManager[str]]:
    """Makes a fresh namespace with PodSecurity `restricted` enforced, removed at the end of the with block."""

    @contextlib.contextmanager
    def make() -> Iterator[str]:
        name = f"e2e-{next(_numbers)}-{os.getpid()}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        cluster.kubectl("create", "-f", "-", input=json.dumps(manifest))
        yield name
        cluster.kubectl("-n", name, "delete", "vc", "--all", "--wait=false", check=False)
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)

    return make


@pytest.fixture
def namespace(make_namespace: Callable[[], contextlib.AbstractContextManager[str]]) -> Iterator[str]:
    """A fresh namespace for this test."""
    with make_namespace() as name:
        yield name


@pytest.fixture(scope="session")
def store(machine: DevCluster | Kind | Current) -> ObjectStore:
    """The S3 server."""
    return machine.object_store()


@pytest.fixture
def fleet(operator: Commands, namespace: str, bucket: str, store: ObjectStore) -> Fleet:
    """A VectorCollection that is not applied yet; its Secret is there."""
    made = Fleet(operator, namespace, "things", f"s3://{bucket}/{namespace}", store)
    made.make_secret()
    return made


@pytest.fixture(scope="session")
def loaded(
    operator: Commands,
    make_namespace: Callable[[], contextlib.AbstractContextManager[str]],
    bucket: str,
    store: ObjectStore,
) -> Iterator[Fleet]:
    """Three nodes, two shards, two replicas and ROWS rows, sealed and indexed; for tests that leave it as it was."""
    with make_namespace() as namespace:
        made = Fleet(operator, namespace, "shared", f"s3://{bucket}/{namespace}", store)
        made.make_secret()
        made.apply(nodes={"count": 3, "cache": {"size": "1Gi"}})
        made.wait_for("Ready")
        made.load(ROWS, seed=1)
        made.wait_until_sealed()
        yield made
