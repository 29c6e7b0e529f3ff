"""etcd, API server, controller manager and scheduler, all in the control plane's namespace. Called by `up`."""

from __future__ import annotations

from pathlib import Path

from devcluster import layout, pki
from devcluster.api import Api
from devcluster.layout import CONTROL_PLANE, Folders
from devcluster.pki import User
from devcluster.processes import Supervisor

ETCD = "http://127.0.0.1:2379"
ISSUER = "https://kubernetes.default.svc.cluster.local"
READY_TIMEOUT = 120.0
AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""


def start(supervisor: Supervisor, folders: Folders, kubeconfigs: dict[User, Path]) -> None:
    """Starts the four and returns when the API server is ready."""
    # A throw-away cluster need not survive a power cut, and fsync is what etcd waits for most.
    supervisor.spawn(
        "etcd", "etcd", "--data-dir", folders.state / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
        machine=CONTROL_PLANE,
    )  # fmt: skip
    (folders.state / "audit-policy.yaml").write_text(AUDIT_POLICY)
    supervisor.spawn("kube-apiserver", "kube-apiserver", *_api_server_flags(folders), machine=CONTROL_PLANE)
    api = Api(kubeconfigs[pki.ADMIN], folders.pki / "ca.crt")
    supervisor.wait("kube-apiserver", api.is_ready, READY_TIMEOUT)
    manager, scheduler = kubeconfigs[pki.CONTROLLER_MANAGER], kubeconfigs[pki.SCHEDULER]
    supervisor.spawn(
        "kube-controller-manager", "kube-controller-manager", *_manager_flags(folders, manager), machine=CONTROL_PLANE
    )
    supervisor.spawn("kube-scheduler", "kube-scheduler", *_as_client(scheduler), machine=CONTROL_PLANE)


def _as_client(kubeconfig: Path) -> list[str]:
    options = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return ["--leader-elect=false", *(f"--{option}={kubeconfig}" for option in options)]


def _api_server_flags(folders: Folders) -> list[str]:
    pki_folder = folders.pki
    return [
        f"--etcd-servers={ETCD}",
        f"--advertise-address={CONTROL_PLANE.address}",
        f"--secure-port={layout.API_PORT}",
        f"--tls-cert-file={pki_folder}/apiserver.crt",
        f"--tls-private-key-file={pki_folder}/apiserver.key",
        f"--client-ca-file={pki_folder}/ca.crt",
        f"--kubelet-client-certificate={pki_folder}/kubelet-client.crt",
        f"--kubelet-client-key={pki_folder}/kubelet-client.key",
        # Without this, `kubectl logs` and `exec` would ask DNS for the node's name.
        "--kubelet-preferred-address-types=InternalIP",
        f"--token-auth-file={pki_folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={layout.SERVICES}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki_folder}/sa.pub",
        f"--service-account-signing-key-file={pki_folder}/sa.key",
        "--allow-privileged=true",
        f"--audit-policy-file={folders.state}/audit-policy.yaml",
        f"--audit-log-path={folders.audit_log}",
        # One file: who reads it wants all of it. 0 would mean the default of 100 MB.
        "--audit-log-maxsize=100000",
    ]


def _manager_flags(folders: Folders, kubeconfig: Path) -> list[str]:
    pki_folder = folders.pki
    return [
        *_as_client(kubeconfig),
        "--use-service-account-credentials",
        f"--root-ca-file={pki_folder}/ca.crt",
        f"--service-account-private-key-file={pki_folder}/sa.key",
        f"--cluster-signing-cert-file={pki_folder}/ca.crt",
        f"--cluster-signing-key-file={pki_folder}/ca.key",
        # A node's pod addresses are fixed by its number; see layout.node.
        "--allocate-node-cidrs=false",
        f"--cluster-cidr={layout.PODS}",
        "--node-monitor-grace-period=20s",
    ]
