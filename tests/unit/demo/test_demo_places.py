"""Where the demo runs, and that it touches no kubeconfig of the user's unless told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import fleet, places
from demo.commands import Commands
from demo.errors import DemoError
from demo.places import Bucket


def test_a_docker_daemon_means_kind_and_none_means_devcluster(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(
        places, "PLACES", {name: lambda name=name: made.append(name) for name in ("devcluster", "kind", "current")}
    )
    for works, wanted, expected in [(True, "", "kind"), (False, "", "devcluster"), (True, "current", "current")]:
        monkeypatch.setattr(places, "docker_works", lambda works=works: works)
        places.choose(wanted)
        assert made.pop() == expected


def test_an_unknown_place_is_refused_with_those_that_exist() -> None:
    with pytest.raises(DemoError, match="CLUSTER is 'minikube'; expected one of devcluster, kind, current"):
        places.choose("minikube")


def test_the_current_place_needs_the_users_images_and_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VECTORFLEET_DEMO_OPERATOR_IMAGE", raising=False)
    with pytest.raises(DemoError, match="VECTORFLEET_DEMO_OPERATOR_IMAGE"):
        places.CurrentPlace().images()


def test_every_command_uses_the_clusters_own_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/the/users/own")
    seen: list[str] = []

    def run(arguments: list[Any], env: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.append(env["KUBECONFIG"])
        return subprocess.CompletedProcess(arguments, 0, "{}", "")

    monkeypatch.setattr(subprocess, "run", run)
    commands = Commands(Path("/demo/kubeconfig"), Path("kubectl"), Path("helm"))
    commands.kubectl("get", "pods")
    commands.helm("list")
    commands.json("pods")
    assert seen == ["/demo/kubeconfig"] * 3


def test_a_command_that_fails_says_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(Path("/demo/kubeconfig"), Path("/nonexistent/kubectl"), Path("helm"))
    with pytest.raises(DemoError, match="/nonexistent/kubectl is missing"):
        commands.kubectl("get", "pods")
    failed = subprocess.CompletedProcess([], 1, "", "no such namespace")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(DemoError, match="kubectl get pods: no such namespace"):
        commands.kubectl("get", "pods")


def test_on_devcluster_the_example_is_applied_as_it_stands() -> None:
    layout = pytest.importorskip("devcluster.layout")
    bucket = Bucket(fleet.BUCKET, f"http://{layout.HOST}:{layout.S3_PORT}", "key", "secret")
    assert fleet.manifest_of(bucket) == yaml.safe_load(fleet.MANIFEST.read_text())


def test_elsewhere_bucket_and_endpoint_are_those_of_the_place() -> None:
    storage = fleet.manifest_of(Bucket("mine", "", "key", "secret"))["spec"]["storage"]
    assert (storage["url"], storage["endpoint"]) == ("s3://mine/dictionary", "")


def pod(name: str, ready: str = "True", **metadata: str) -> dict[str, Any]:
    status = {"podIP": f"10.0.0.{name[-1]}", "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name, **metadata}, "status": status}


def test_only_ready_pods_that_stay_are_addressed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [pod("d-0"), pod("d-1", "False"), pod("d-2", deletionTimestamp="now"), pod("d-3")]
    monkeypatch.setattr(Commands, "json", lambda self, *arguments: {"items": found})
    commands = Commands(Path("k"), Path("kubectl"), Path("helm"))
    with fleet.addresses(commands, pods_are_reachable=True) as nodes:
        assert nodes == ["10.0.0.0:7300", "10.0.0.3:7300"]
    found.clear()
    with pytest.raises(DemoError, match="no pod of dictionary is ready"), fleet.addresses(commands, True):
        pass


@pytest.mark.parametrize("path", sorted((places.ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_a_valid_resource(path: Path) -> None:
    model = pytest.importorskip("vectorfleet_operator.model.spec")
    resource = yaml.safe_load(path.read_text())
    assert resource["kind"] == "VectorCollection"
    model.VectorCollectionSpec.model_validate(resource["spec"])
