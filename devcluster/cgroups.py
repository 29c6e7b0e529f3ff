"""The cgroups of the nodes: `vectorfleet/<node>` in every hierarchy. Called by `up`, `node stop` and `down`.

They are also how a node's containers are found: every process in them was started by our kubelets' containerd.
cgroup v1 is what this is developed on; the v2 branch is written from its documentation and is not tested.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from devcluster import layout, processes
from devcluster.errors import DevclusterError
from devcluster.layout import Machine

MOUNT = Path("/sys/fs/cgroup")
CPUSET = ("cpuset.cpus", "cpuset.mems")
V2_CONTROLLERS = ("cpuset", "cpu", "memory", "pids")
REMOVE_TIMEOUT = 10.0


def is_v2(mount: Path = MOUNT) -> bool:
    """Whether this machine has the unified hierarchy and no other."""
    return (mount / "cgroup.controllers").exists()


def hierarchies(mount: Path = MOUNT) -> list[Path]:
    """The root of every hierarchy that nodes get a group in."""
    if is_v2(mount):
        return [mount]
    v1 = [path for path in sorted(mount.iterdir()) if (path / "cgroup.procs").exists()]
    # The second test leaves out a cgroup2 that is mounted beside them for systemd's use.
    return [path for path in v1 if not path.is_symlink() and not (path / "cgroup.controllers").exists()]


def make(machine: Machine, mount: Path = MOUNT) -> None:
    """Makes the node's group in every hierarchy."""
    for root in hierarchies(mount):
        parent = root
        for part in machine.cgroup.split("/"):
            group = parent / part
            group.mkdir(exist_ok=True)
            if is_v2(mount):
                _enable_controllers(parent)
            elif root.name == "cpuset":
                # A new v1 cpuset is empty, and nothing can run in it.
                for name in CPUSET:
                    (group / name).write_text((parent / name).read_text())
            parent = group


def _enable_controllers(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in V2_CONTROLLERS if name in available)
    (group / "cgroup.subtree_control").write_text(wanted)


def _groups(name: str, mount: Path) -> list[Path]:
    """Every group below `name` in every hierarchy, deepest first."""
    roots = [path / name for path in (mount, *mount.glob("*")) if (path / name).is_dir() and not path.is_symlink()]
    return [
        group for root in roots for group in [*sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True), root]
    ]


def members(name: str = layout.CGROUP, mount: Path = MOUNT) -> list[processes.Process]:
    """The processes in the group and those below it."""
    pids = set()
    for group in _groups(name, mount):
        with contextlib.suppress(FileNotFoundError):
            pids |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    return [process for pid in pids if (process := processes.find(pid))]


def remove(mount: Path = MOUNT) -> None:
    """Removes all our groups. They must hold no process any more.

    Raises:
        DevclusterError: the kernel still calls one busy after ten seconds.
    """
    deadline = time.monotonic() + REMOVE_TIMEOUT
    while left := _groups(layout.CGROUP, mount):
        for group in left:
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            raise DevclusterError(f"the cgroup {left[0]} cannot be removed")
