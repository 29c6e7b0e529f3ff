"""The cluster: `up`, `down`, and what can be done in between. Used by the command line, `make demo` and the tests.

The trap: whatever `up` starts, `down` must find again without help from `up`, because `up` may have been killed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import (
    cleanup,
    debian,
    layout,
    network,
    nodes,
    pki,
    programs,
    state,
)
from devcluster.api import Api
from devcluster.boot import Boot
from devcluster.errors import DevclusterError
from devcluster.images import Images
from devcluster.layout import CONTROL_PLANE, Folders, Machine
from devcluster.pki import User
from devcluster.processes import Supervisor
from devcluster.programs import Program
from devcluster.progress import Reporter
from devcluster.s3 import S3


class Cluster:
    """This machine's one cluster, running or not.

    Args:
        reporter: where progress is shown; standard error by default.
    """

    def __init__(self, reporter: Reporter | None = None) -> None:
        self.folders = Folders()
        self.reporter = reporter or Reporter()
        self.supervisor = Supervisor(self.folders)
        self.s3 = S3(self.supervisor, self.folders)
        self._images = Images(self.folders, self.reporter)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig file."""
        return self.folders.kubeconfig

    @property
    def bin(self) -> Path:
        """A folder with helm, kubectl and the cluster's own programs."""
        return self.folders.bin

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON event a line, level Metadata."""
        return self.folders.audit_log

    def up(self, count: int = 3) -> None:
        """Starts a cluster of so many nodes, and returns when it is usable.

        A complete cluster of that size is left as it is. Anything else is removed first, all but the S3 server's data;
        so is this one if it fails or is interrupted.

        Raises:
            DevclusterError: this machine cannot do it, or a program does not come up; the message says which and why.
        """
        machines = layout.nodes(count)
        debian.check_root()
        with state.locked(), self.reporter.steps():
            began = time.monotonic()
            debian.install_missing(self.reporter)
            built = programs.build_missing(self.reporter)
            if self._is_up(count, built):
                self.reporter.say(f"the cluster of {count} nodes is up already")
                return
            cleanup.remove(self.folders, keep_s3=True)
            try:
                self._boot(built, machines).run()
            except BaseException:
                with _uninterrupted():
                    cleanup.remove(self.folders, keep_s3=True)
                raise
            self.reporter.say(f"the cluster of {count} nodes is up after {time.monotonic() - began:.0f} s")

    def down(self, keep_s3: bool = False) -> None:
        """Removes the cluster without a trace; works on what a killed `up` left behind, too.

        Args:
            keep_s3: keep the buckets for the next `up`.
        """
        debian.check_root()
        with state.locked():
            cleanup.remove(self.folders, keep_s3)

    def build_and_load(self, part: str) -> str:
        """Builds the image of `operator` or `node` from this tree and makes it pullable.

        Returns:
            The image reference for pods. It changes exactly when the code does; an unchanged tree costs milliseconds.
        """
        self.description()
        with state.locked():
            return self._images.part(part)

    def load(self, archive: Path) -> str:
        """Makes the image in a `docker save` archive pullable and returns its reference."""
        self.description()
        with state.locked():
            return self._images.archive(archive)

    def stop_node(self, machine: Machine) -> None:
        """Takes a node's power away. Kubernetes calls it NotReady 20 seconds later."""
        self._known(machine)
        with state.locked():
            nodes.stop(self.supervisor, self.folders, machine)

    def start_node(self, machine: Machine) -> None:
        """Gives a stopped node its power back and waits until it is Ready."""
        self._known(machine)
        description = self.description()
        with state.locked():
            network.set_link(machine, up=True)
            nodes.start_containerd(self.supervisor, self.folders, machine, description.pause)
            nodes.start_kubelet(self.supervisor, self.folders, machine, self._kubeconfigs(machine))
            nodes.wait_until_ready(self.supervisor, self.api(), machine)

    def partition(self, one: Machine, other: Machine) -> None:
        """Cuts two machines and their pods off from each other."""
        self._known(one)
        self._known(other)
        if one == other:
            raise DevclusterError(f"{one.name} cannot be cut off from itself")
        network.partition(one, other)

    def heal(self) -> None:
        """Undoes every partition."""
        network.heal(self.machines())

    def description(self) -> state.Description:
        """What is written down about the cluster. Raises DevclusterError if it is not up."""
        found = state.read(self.folders.description)
        if found is None:
            raise DevclusterError("the cluster is not up (python -m devcluster up)")
        return found

    def machines(self) -> list[Machine]:
        """The control plane and the nodes."""
        return [CONTROL_PLANE, *layout.nodes(self.description().nodes)]

    def api(self) -> Api:
        """The API server, asked as administrator."""
        return Api(self.kubeconfig, self.folders.pki / "ca.crt")

    def all_ready(self) -> bool:
        """Whether every node that was started is Ready."""
        ready = self.api().ready_nodes()
        return len(ready) == self.description().nodes and all(ready.values())

    def _boot(self, built: list[Program], machines: list[Machine]) -> Boot:
        return Boot(self.folders, self.supervisor, self.reporter, self._images, self.s3, built, machines)

    def _known(self, machine: Machine) -> None:
        names = [known.name for known in self.machines()]
        if machine.name not in names:
            raise DevclusterError(f"machine {machine.name!r}: this cluster has {', '.join(names)}")

    def _kubeconfigs(self, machine: Machine) -> dict[User, Path]:
        return {user: pki.kubeconfig_file(self.folders.pki, user) for user in (pki.PROXY, pki.kubelet(machine))}

    def _is_up(self, count: int, built: list[Program]) -> bool:
        found = state.read(self.folders.description)
        if found is None or (found.nodes, found.made_by) != (count, state.made_by(built)):
            return False
        return all(self.supervisor.find(name) for name in self.supervisor.names()) and self.all_ready()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignores Ctrl-C: a second one must not leave half a cluster behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
