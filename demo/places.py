"""Where the demo runs: devcluster (ours, without Docker), kind, or the cluster of the user's own kubeconfig.

`choose` is told by the variable CLUSTER; without it, kind where a Docker daemon answers, else devcluster. Only
CLUSTER=current touches a kubeconfig that the demo did not make.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from demo.commands import Commands
from demo.errors import DemoError

if TYPE_CHECKING:
    from pytest_kind.cluster import KindCluster

    from devcluster.cluster import Cluster

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vectorfleet" / "demo"
KIND_VERSION = "v0.31.0"
KIND_NODE_IMAGE = "docker.io/kindest/node:v1.35.0"
S3_IN_KIND = ROOT / "tests" / "e2e" / "s3.yaml"


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket as pods reach it, and the keys to it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str


class Place(Protocol):
    """A cluster that the demo can use."""

    name: str
    pods_are_reachable: bool  # whether this machine has a route to pod addresses

    def start(self) -> Commands:
        """Brings the cluster up; a cluster that is up is left as it is."""

    def images(self) -> dict[str, str]:
        """References of the `operator` and `node` image, pullable by the cluster."""

    def bucket(self, name: str) -> Bucket:
        """A bucket that exists."""

    def stop(self) -> None:
        """Removes what `start` made."""


def _own_kubectl() -> Path:
    return Path(sys.prefix) / "bin" / "kubectl"


def _program(name: str) -> Path:
    path = shutil.which(name)
    if path is None:
        raise DemoError(f"{name} is not on PATH; the demo needs it here")
    return Path(path)


class DevclusterPlace:
    """Three nodes as network namespaces of this machine."""

    name = "devcluster"
    pods_are_reachable = True

    def __init__(self) -> None:
        from devcluster.cluster import Cluster

        self._cluster: Cluster = Cluster()

    def start(self) -> Commands:
        self._cluster.up(3)
        return Commands(Path(self._cluster.kubeconfig), _own_kubectl(), self._cluster.bin / "helm")

    def images(self) -> dict[str, str]:
        return {part: self._cluster.build_and_load(part) for part in ("operator", "node")}

    def bucket(self, name: str) -> Bucket:
        self._cluster.s3.make_bucket(name)
        s3 = self._cluster.s3
        return Bucket(name, s3.endpoint, s3.access_key, s3.secret_key)

    def stop(self) -> None:
        self._cluster.down()


class KindPlace:
    """Three kind workers in Docker, with an S3 server as a pod."""

    name = "kind"
    pods_are_reachable = False

    def __init__(self) -> None:
        os.environ.setdefault("KIND_VERSION", KIND_VERSION)
        from pytest_kind.cluster import KindCluster

        CACHE.mkdir(parents=True, exist_ok=True)
        self._kubeconfig = CACHE / "kind.kubeconfig"
        self._cluster: KindCluster = KindCluster("vectorfleet-demo", self._kubeconfig, image=KIND_NODE_IMAGE)
        self._commands: Commands | None = None

    def start(self) -> Commands:
        helm = _program("helm")
        workers = "".join(
            f"- {{role: worker, labels: {{topology.kubernetes.io/zone: z{number}}}}}\n" for number in (1, 2, 3)
        )
        config = CACHE / "kind.yaml"
        config.write_text(
            f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n{workers}"
        )
        self._cluster.create(config)
        commands = Commands(self._kubeconfig, _own_kubectl(), helm)
        commands.kubectl("apply", "-f", str(S3_IN_KIND))
        commands.kubectl("-n", "devcluster", "rollout", "status", "deployment/s3")
        self._commands = commands
        return commands

    def images(self) -> dict[str, str]:
        made = {}
        for part in ("operator", "node"):
            made[part] = f"vectorfleet-{part}:demo"
            build = ["docker", "build", "--quiet", "--tag", made[part], "--file", str(ROOT / part / "Dockerfile")]
            if subprocess.run([*build, str(ROOT)], stdout=subprocess.DEVNULL).returncode:
                raise DemoError(f"docker could not build {part}/Dockerfile")
            self._cluster.load_docker_image(made[part])
        return made

    def bucket(self, name: str) -> Bucket:
        if self._commands is None:
            raise DemoError("the kind cluster is not up")
        self._commands.kubectl("-n", "devcluster", "exec", "deployment/s3", "--", "mkdir", "-p", f"/data/{name}")
        return Bucket(name, "http://s3.devcluster.svc.cluster.local:7070", "vectorfleet", "vectorfleet-secret")

    def stop(self) -> None:
        self._cluster.delete()


class CurrentPlace:
    """The cluster of the user's kubeconfig: images and bucket are the user's, told by variables."""

    name = "current"
    pods_are_reachable = False

    def start(self) -> Commands:
        kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube" / "config"))
        return Commands(kubeconfig, _own_kubectl(), _program("helm"))

    def images(self) -> dict[str, str]:
        return {part: _variable(f"VECTORFLEET_DEMO_{part.upper()}_IMAGE") for part in ("operator", "node")}

    def bucket(self, name: str) -> Bucket:
        return Bucket(
            os.environ.get("VECTORFLEET_DEMO_BUCKET", name),
            os.environ.get("VECTORFLEET_DEMO_S3_ENDPOINT", ""),
            _variable("VECTORFLEET_DEMO_S3_ACCESS_KEY"),
            _variable("VECTORFLEET_DEMO_S3_SECRET_KEY"),
        )

    def stop(self) -> None:
        """Removes collection and chart; the data in the bucket stays, as does the cluster."""
        commands = self.start()
        with contextlib.suppress(DemoError):  # what is not there needs no removal
            commands.kubectl("-n", "default", "delete", "vc/dictionary", "secret/dictionary-s3", "--ignore-not-found")
        commands.helm("uninstall", "vectorfleet", "--namespace", "vectorfleet-system", "--ignore-not-found")


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise DemoError(f"CLUSTER=current needs the variable {name}; see docs/client.md")
    return value


def docker_works() -> bool:
    """Whether a Docker daemon answers."""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


PLACES: dict[str, type[DevclusterPlace] | type[KindPlace] | type[CurrentPlace]] = {
    "devcluster": DevclusterPlace,
    "kind": KindPlace,
    "current": CurrentPlace,
}


def choose(wanted: str) -> Place:
    """The place named `wanted`, or the default where it is empty."""
    name = wanted or ("kind" if docker_works() else "devcluster")
    if name not in PLACES:
        raise DemoError(f"CLUSTER is {name!r}; expected one of {', '.join(PLACES)}")
    return PLACES[name]()
