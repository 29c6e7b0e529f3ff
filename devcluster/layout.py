"""Where everything of the cluster lives: addresses, namespaces and folders. Pure values, used by every other module.

The state folder is fixed, so that there is one cluster per machine and what an earlier `up` left behind can be found.
The trap: interface names have at most 15 characters.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
STATE = Path("/var/lib/vectorfleet-devcluster")
LOCK = Path("/run/lock/vectorfleet-devcluster.lock")

BRIDGE = "vectorfleet0"
MACHINES = ipaddress.IPv4Network("10.213.0.0/24")
PODS = ipaddress.IPv4Network("10.214.0.0/16")
SERVICES = ipaddress.IPv4Network("10.215.0.0/16")
HOST = "10.213.0.1"
DNS = "10.215.0.10"
API_SERVICE = "10.215.0.1"
API_PORT = 6443
REGISTRY_PORT = 5000
REGISTRY = f"{HOST}:{REGISTRY_PORT}"
S3_PORT = 7070
NETNS_PREFIX = "vectorfleet-"
CGROUP = "vectorfleet"
MAX_NODES = 9


@dataclass(frozen=True)
class Machine:
    """One network namespace that plays a machine: the control plane or a node.

    Args:
        name: what Kubernetes and the command line call it: `cp`, `n1`, `n2`, ...
        address: its address on the bridge.
        pods: the addresses of its pods; None for the control plane, which runs none.
    """

    name: str
    address: str
    pods: str | None = None

    @property
    def netns(self) -> str:
        return NETNS_PREFIX + self.name

    @property
    def veth(self) -> str:
        """The end of its cable that is plugged into the bridge."""
        return f"vf-{self.name}"

    @property
    def zone(self) -> str:
        return "z" + self.name.removeprefix("n")

    @property
    def cgroup(self) -> str:
        return f"{CGROUP}/{self.name}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Everything that packets from this machine can have as their source."""
        return (self.address, self.pods) if self.pods else (self.address,)


CONTROL_PLANE = Machine("cp", "10.213.0.2")
API_SERVER = f"https://{CONTROL_PLANE.address}:{API_PORT}"


def node(number: int) -> Machine:
    """Node `n<number>`, counted from 1."""
    if not 1 <= number <= MAX_NODES:
        raise ValueError(f"node {number}: a cluster has 1 to {MAX_NODES} nodes")
    return Machine(f"n{number}", f"10.213.0.{10 + number}", f"10.214.{number}.0/24")


def nodes(count: int) -> list[Machine]:
    """The nodes of a cluster of that many."""
    return [node(number) for number in range(1, count + 1)]


def machine(name: str) -> Machine:
    """The machine called `cp`, `n2` or just `2`."""
    if name == CONTROL_PLANE.name:
        return CONTROL_PLANE
    number = name.removeprefix("n")
    if not number.isdigit():
        raise ValueError(f"machine {name!r}: expected cp, n1, n2, ...")
    return node(int(number))


def cache_folder() -> Path:
    """Built programs, images and the registry's blobs: what is slow to make and survives `down`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vectorfleet"


@dataclass(frozen=True)
class Folders:
    """The folders of a cluster's state, all gone after `down` except `s3` when it is to be kept."""

    state: Path = STATE

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        return self.state / "pids"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def s3(self) -> Path:
        return self.state / "s3"

    @property
    def tmp(self) -> Path:
        return self.state / "tmp"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.log"

    @property
    def description(self) -> Path:
        """Written last by `up`: its presence says that the cluster is complete."""
        return self.state / "cluster.json"

    def node(self, machine: Machine) -> Path:
        return self.state / "nodes" / machine.name

    def make(self) -> None:
        """Makes the folders; only root may look into them, for there are keys in them."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.bin, self.logs, self.pids, self.pki, self.s3, self.tmp):
            folder.mkdir(exist_ok=True)
