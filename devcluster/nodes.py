"""One node: containerd, kubelet and kube-proxy in a network namespace. Called by `up` and `node stop|start`.

The traps: programs are started with nsenter and not with `ip netns exec`, which
hides /sys/fs/cgroup; CNI's host-local keeps its leases in one default folder for all nodes unless told otherwise; and
without CAP_SYS_RESOURCE containerd must not lower an oom_score_adj.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from devcluster import cgroups, layout, mounts, network, pki, processes
from devcluster.api import Api
from devcluster.layout import Folders, Machine
from devcluster.pki import User
from devcluster.processes import Supervisor

CONTAINERD_TIMEOUT = 30.0
READY_TIMEOUT = 120.0
CNI_PLUGINS = "/usr/lib/cni"


def programs(machine: Machine) -> tuple[str, str, str]:
    """The names under which the node's three programs run."""
    return (f"kubelet-{machine.name}", f"kube-proxy-{machine.name}", f"containerd-{machine.name}")


def image_folder(folders: Folders, machine: Machine) -> Path:
    """Where the node's containerd keeps its images."""
    return folders.node(machine) / "containerd"


def start_containerd(supervisor: Supervisor, folders: Folders, machine: Machine, pause: str) -> None:
    """Starts the node's containerd and returns when it answers.

    Args:
        pause: reference of the image that holds a pod's namespaces.
    """
    folder = folders.node(machine)
    for name in ("cni", "registries", "volumes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "containerd.toml").write_text(containerd_config(folder, pause))
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(cni_config(folder, machine)))
    registry = folder / "registries" / layout.REGISTRY
    registry.mkdir(exist_ok=True)
    (registry / "hosts.toml").write_text(f'server = "http://{layout.REGISTRY}"\n[host."http://{layout.REGISTRY}"]\n')
    name = programs(machine)[2]
    supervisor.spawn(name, "containerd", "--config", folder / "containerd.toml", machine=machine)
    supervisor.wait(name, (folder / "containerd.sock").is_socket, CONTAINERD_TIMEOUT)


def start_kubelet(supervisor: Supervisor, folders: Folders, machine: Machine, kubeconfigs: dict[User, Path]) -> None:
    """Starts the node's kubelet and kube-proxy."""
    folder = folders.node(machine)
    cgroups.make(machine)
    (folder / "kubelet.yaml").write_text(json.dumps(kubelet_config(folders, machine), indent=1))
    # Pods with dnsPolicy Default get this file; there is nothing outside the cluster to resolve.
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    kubelet, proxy, _ = programs(machine)
    supervisor.spawn(
        kubelet, "kubelet",
        f"--config={folder}/kubelet.yaml", f"--kubeconfig={kubeconfigs[pki.kubelet(machine)]}",
        f"--root-dir={folder}/kubelet", f"--cert-dir={folder}/pki",
        f"--hostname-override={machine.name}", f"--node-ip={machine.address}",
        f"--node-labels=topology.kubernetes.io/zone={machine.zone}",
        machine=machine,
    )  # fmt: skip
    supervisor.spawn(
        proxy, "kube-proxy",
        f"--kubeconfig={kubeconfigs[pki.PROXY]}", "--proxy-mode=nftables", f"--cluster-cidr={layout.PODS}",
        f"--hostname-override={machine.name}", "--conntrack-max-per-core=0",
        machine=machine,
    )  # fmt: skip


def wait_until_ready(supervisor: Supervisor, api: Api, machine: Machine) -> None:
    """Waits until the API server calls the node Ready."""
    supervisor.wait(programs(machine)[0], lambda: api.ready_nodes().get(machine.name, False), READY_TIMEOUT)


def stop(supervisor: Supervisor, folders: Folders, machine: Machine) -> None:
    """The node loses its power: everything on it is killed, and its cable is dead. Its disk stays."""
    network.set_link(machine, up=False)
    supervisor.stop(*programs(machine))
    folder = folders.node(machine)
    processes.end([*cgroups.members(machine.cgroup), *processes.ours(folder)])
    mounts.unmount_below(folder)
    shutil.rmtree(folder / "containerd-run", ignore_errors=True)


def containerd_config(folder: Path, pause: str) -> str:
    """The node's containerd.toml."""
    return f"""
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-run"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    discard_unpacked_layers = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
"""


def cni_config(folder: Path, machine: Machine) -> dict[str, object]:
    """The node's pod network: a bridge of its own with the node's range of addresses."""
    ipam = {
        "type": "host-local",
        "dataDir": f"{folder}/ipam",
        "ranges": [[{"subnet": machine.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, portmap]}


def kubelet_config(folders: Folders, machine: Machine) -> dict[str, object]:
    """The node's KubeletConfiguration."""
    folder = folders.node(machine)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{folders.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{machine.cgroup}",
        "enforceNodeAllocatable": [],
        "clusterDNS": [layout.DNS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "failSwapOn": False,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # 100 turns it off: pulling an image again costs more than its place.
        "imageGCHighThresholdPercent": 100,
        "resolvConf": f"{folder}/resolv.conf",
        "nodeStatusUpdateFrequency": "5s",
        # How soon a pod sees a changed Secret or ConfigMap.
        "syncFrequency": "10s",
        "volumePluginDir": f"{folder}/volume-plugins",
        "podLogsDir": f"{folder}/pod-logs",
        "maxPods": 60,
    }
