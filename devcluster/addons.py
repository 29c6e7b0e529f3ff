"""What a cluster needs beyond nodes: DNS and a default StorageClass. Called by `up` when the API server is ready."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template

from devcluster import layout
from devcluster.api import Api
from devcluster.commands import kubectl
from devcluster.errors import ProgramFailed
from devcluster.images import SystemImages
from devcluster.layout import CONTROL_PLANE, Folders, Machine
from devcluster.processes import Supervisor

MANIFESTS = Path(__file__).with_name("manifests")
PROVISIONER = "local-path-provisioner"
NAMESPACE = "local-path-storage"
DNS_TIMEOUT = 120.0


def apply(folders: Folders, machines: list[Machine], images: SystemImages) -> None:
    """Applies every manifest, with its `$names` filled in."""
    paths = [{"node": machine.name, "paths": [f"{folders.node(machine)}/volumes"]} for machine in machines]
    values = {
        "coredns": images.coredns,
        "base": images.base,
        "dns": layout.DNS,
        "paths": json.dumps({"nodePathMap": paths}),
    }
    texts = [Template(path.read_text()).substitute(values) for path in sorted(MANIFESTS.glob("*.yaml"))]
    kubectl(folders.kubeconfig, "apply", "-f", "-", stdin="\n---\n".join(texts))


def start_provisioner(supervisor: Supervisor, folders: Folders, images: SystemImages) -> None:
    """Starts the program that makes a folder for each PersistentVolumeClaim."""
    supervisor.spawn(
        PROVISIONER, PROVISIONER, "--debug", "start",
        "--kubeconfig", folders.kubeconfig, "--namespace", NAMESPACE,
        "--service-account-name", PROVISIONER, "--configmap-name", "local-path-config", "--helper-image", images.base,
        machine=CONTROL_PLANE, env={"POD_NAMESPACE": NAMESPACE},
    )  # fmt: skip


def wait_for_dns(supervisor: Supervisor, folders: Folders, api: Api) -> None:
    """Waits until a CoreDNS pod is available; the error shows what the pods say."""
    try:
        supervisor.wait(
            "kube-controller-manager", lambda: api.is_deployed("kube-system", "coredns"), DNS_TIMEOUT, "running CoreDNS"
        )
    except ProgramFailed as error:
        pods = kubectl(folders.kubeconfig, "-n", "kube-system", "describe", "pods", "-l", "k8s-app=kube-dns")
        raise ProgramFailed(f"{error}\nCoreDNS does not become available:\n{pods}") from error
