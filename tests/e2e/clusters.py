"""The clusters the end-to-end tests can run on: devcluster (ours, without Docker), kind, or the user's current one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ObjectStore:
    """An S3 server: how pods and how this process reach it."""

    endpoint: str  # from inside the cluster
    host_endpoint: str  # from here
    access_key: str
    secret_key: str


class Cluster(Protocol):
    """What the tests need of a cluster. Features that only devcluster has are asked for with `requires_devcluster`."""

    name: str
    kubeconfig: Path
    images: dict[str, str]

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def load_images(self) -> None: ...
    def object_store(self) -> ObjectStore: ...
    def make_bucket(self, name: str) -> None: ...
    def helm_path(self) -> str: ...


class Commands:
    """kubectl and helm, bound to one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = cluster.name
        self.kubeconfig = cluster.kubeconfig

    def _run(
        self, program: str, args: tuple[str, ...], stdin: str | None, check: bool, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *args],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if check and done.returncode:
            raise AssertionError(f"{program} {' '.join(args)}\n{done.stdout}{done.stderr}")
        return done

    def kubectl(
        self, *args: str, input: str | None = None, check: bool = True, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        return self._run(str(ROOT / ".venv/bin/kubectl"), args, input, check, timeout)

    def helm(self, *args: str, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        return self._run(self.cluster.helm_path(), args, None, check, timeout)


class DevCluster:
    """Real Kubernetes in network namespaces of this machine; see devcluster/README.md."""

    name = "devcluster"

    def __init__(self, nodes: int = 3) -> None:
        from devcluster.cluster import Cluster as Development

        self._nodes = nodes
        self.development: Any = Development()
        self.images: dict[str, str] = {}

    @property
    def kubeconfig(self) -> Path:
        return Path(self.development.kubeconfig)

    def start(self) -> None:
        self.development.up(self._nodes)

    def stop(self) -> None:
        self.development.down()

    def renew(self) -> None:
        """A new cluster with an empty etcd; the buckets stay."""
        self.development.down(keep_s3=True)
        self.development.up(self._nodes)
        self.load_images()

    def load_images(self) -> None:
        self.images = {part: self.development.build_and_load(part) for part in ("operator", "node")}

    def object_store(self) -> ObjectStore:
        s3 = self.development.s3
        return ObjectStore(s3.endpoint, s3.host_endpoint, s3.access_key, s3.secret_key)

    def make_bucket(self, name: str) -> None:
        self.development.s3.make_bucket(name)

    def helm_path(self) -> str:
        return str(self.development.bin / "helm")

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON event a line."""
        return Path(self.development.audit_log)

    def stop_store(self) -> None:
        self.development.s3.stop()

    def start_store(self) -> None:
        self.development.s3.start()


KIND_VERSION = "v0.31.0"
KIND_NODE_IMAGE = "docker.io/kindest/node:v1.35.0"
S3_IMAGE = "docker.io/versity/versitygw:v1.8.0"


class Kind:
    """Three kind nodes in Docker, made and removed by pytest-kind, with versitygw as the S3 server inside."""

    name = "kind"

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("KIND_VERSION", KIND_VERSION)
        from pytest_kind.cluster import KindCluster

        self._folder = folder
        self._kind = KindCluster(
            "vectorfleet-e2e",
            folder / "kubeconfig",
            image=KIND_NODE_IMAGE,
            kubectl_path=ROOT / ".venv/bin/kubectl",
        )
        self.kubeconfig = folder / "kubeconfig"
        self.images: dict[str, str] = {}

    def start(self) -> None:
        zones = "\n".join(
            f"- {{role: worker, labels: {{topology.kubernetes.io/zone: z{number}}}}}" for number in (1, 2, 3)
        )
        config = self._folder / "kind.yaml"
        config.write_text(
            f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n{zones}\n"
        )
        self._kind.create(config)
        Commands(self).kubectl("apply", "-f", str(Path(__file__).with_name("s3.yaml")))
        Commands(self).kubectl("-n", "devcluster", "rollout", "status", "deployment/s3")

    def stop(self) -> None:
        self._kind.delete()

    def load_images(self) -> None:
        for part in ("operator", "node"):
            tag = f"vectorfleet-{part}:e2e"
            subprocess.run(
                ["docker", "build", "-q", "-t", tag, "-f", str(ROOT / part / "Dockerfile"), str(ROOT)], check=True
            )
            self._kind.load_docker_image(tag)
            self.images[part] = tag

    def object_store(self) -> ObjectStore:
        return ObjectStore("http://s3.devcluster.svc.cluster.local:7070", "", "vectorfleet", "vectorfleet-secret")

    def make_bucket(self, name: str) -> None:
        Commands(self).kubectl("-n", "devcluster", "exec", "deployment/s3", "--", "mkdir", "-p", f"/data/{name}")

    def helm_path(self) -> str:
        return _program("helm")


class Current:
    """The cluster of the user's own KUBECONFIG. Images and an S3 bucket are the user's: see docs/testing.md."""

    name = "current"

    def __init__(self) -> None:
        self.kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
        self.images = {part: _setting(f"VECTORFLEET_E2E_{part.upper()}_IMAGE") for part in ("operator", "node")}

    def start(self) -> None:
        """Nothing to start: it is the user's."""

    def stop(self) -> None:
        """Nothing to stop: it is the user's."""

    def load_images(self) -> None:
        """The images are where the user's nodes can pull them."""

    def object_store(self) -> ObjectStore:
        return ObjectStore(
            _setting("VECTORFLEET_E2E_S3_ENDPOINT"),
            os.environ.get("VECTORFLEET_E2E_S3_HOST_ENDPOINT", ""),
            _setting("VECTORFLEET_E2E_S3_ACCESS_KEY"),
            _setting("VECTORFLEET_E2E_S3_SECRET_KEY"),
        )

    def make_bucket(self, name: str) -> None:
        raise AssertionError(f"make the bucket {name} yourself and set VECTORFLEET_E2E_BUCKET={name}")

    def helm_path(self) -> str:
        return _program("helm")


def _setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise AssertionError(f"--cluster=current needs {name}; see docs/testing.md")
    return value


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise AssertionError(f"{name} is not on PATH")
    return path


def docker_works() -> bool:
    """Whether a Docker daemon answers."""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def choose(wanted: str, folder: Path) -> DevCluster | Kind | Current:
    """The cluster for `--cluster`: `auto` is kind where a Docker daemon works, else devcluster."""
    if wanted == "auto":
        wanted = "kind" if docker_works() else "devcluster"
    if wanted == "kind":
        return Kind(folder)
    return Current() if wanted == "current" else DevCluster()
