"""The order in which a cluster comes up. Called by `Cluster.up` on a machine where nothing of a cluster is left.

What depends on nothing else runs at once: containerds start while the API server does, and all kubelets together.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devcluster import addons, cgroups, controlplane, network, nodes, pki, programs, registry, state
from devcluster.api import Api
from devcluster.images import PARTS, Images, SystemImages
from devcluster.layout import CONTROL_PLANE, Folders, Machine
from devcluster.pki import User
from devcluster.processes import Supervisor
from devcluster.programs import Program
from devcluster.progress import Reporter
from devcluster.s3 import S3
from devcluster.stock import Stock


@dataclass(frozen=True)
class Boot:
    """What starting a cluster takes."""

    folders: Folders
    supervisor: Supervisor
    reporter: Reporter
    images: Images
    s3: S3
    built: list[Program]
    machines: list[Machine]

    def run(self) -> None:
        """Starts everything and returns when the cluster is usable.

        Raises:
            DevclusterError: a program does not come up. What was started is still there.
        """
        kubeconfigs = self._prepare()
        registry.start(self.supervisor, self.folders)
        self.s3.start()
        images = self.images.system(self.built)
        stock = self._fill_stock(images)
        self._together(
            [
                partial(self._control_plane, images, kubeconfigs),
                *(partial(self._containerd, machine, images, stock) for machine in self.machines),
            ]
        )
        api = Api(self.folders.kubeconfig, self.folders.pki / "ca.crt")
        self._together([partial(self._kubelet, machine, kubeconfigs, api) for machine in self.machines])
        with self.reporter.step("cluster DNS"):
            addons.wait_for_dns(self.supervisor, self.folders, api)
        description = state.Description(len(self.machines), state.made_by(self.built), images.pause)
        description.write(self.folders.description)

    def _prepare(self) -> dict[User, Path]:
        self.supervisor.cancelled.clear()
        self.folders.make()
        programs.link(self.built, self.folders.bin)
        if cgroups.is_v2():
            self.reporter.say("note: this machine has cgroup v2 only, with which devcluster was never tried")
        network.make([CONTROL_PLANE, *self.machines])
        kubeconfigs = pki.write_all(self.folders.pki, self.machines)
        self.folders.kubeconfig.touch(mode=0o600)
        self.folders.kubeconfig.write_text(kubeconfigs[pki.ADMIN].read_text())
        return kubeconfigs

    def _fill_stock(self, images: SystemImages) -> Stock:
        """The images that the nodes start with: the cluster's own, and this tree's operator and node."""
        stock = Stock(self.supervisor, self.folders)
        parts = [self.images.part(part) for part in PARTS]
        with self.reporter.step("images"):
            stock.fill([images.pause, images.coredns, images.base, *parts])
        return stock

    def _control_plane(self, images: SystemImages, kubeconfigs: dict[User, Path]) -> None:
        with self.reporter.step("control plane"):
            controlplane.start(self.supervisor, self.folders, kubeconfigs)
        addons.apply(self.folders, self.machines, images)
        addons.start_provisioner(self.supervisor, self.folders, images)

    def _containerd(self, machine: Machine, images: SystemImages, stock: Stock) -> None:
        stock.clone(nodes.image_folder(self.folders, machine))
        nodes.start_containerd(self.supervisor, self.folders, machine, images.pause)

    def _kubelet(self, machine: Machine, kubeconfigs: dict[User, Path], api: Api) -> None:
        with self.reporter.step(f"node {machine.name}"):
            nodes.start_kubelet(self.supervisor, self.folders, machine, kubeconfigs)
            nodes.wait_until_ready(self.supervisor, api, machine)

    def _together(self, jobs: list[Callable[[], None]]) -> None:
        """Runs the jobs at once. When one fails or the user interrupts, the others are told to give up."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.supervisor.cancelled.set()
                raise
