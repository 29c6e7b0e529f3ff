"""Images unpacked once for all nodes and all clusters to come. Called by `up` before the nodes start.

Unpacking an image is most of the time that a new node needs, and deleting it again takes as long. So a containerd
without containers unpacks the images that a cluster starts with into the cache folder, and every node's containerd
starts from a copy of its databases, in which blobs and snapshots are symbolic links into the cache. Both are never
written to: a snapshot of an image is the lower layer of an overlay.

The trap: a snapshot must not go while a cluster runs on it, so the stock changes during `up` only.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from devcluster import layout
from devcluster.commands import run
from devcluster.layout import Folders
from devcluster.processes import Supervisor

NAME = "containerd-stock"
READY_TIMEOUT = 30.0
DATABASES = ("io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db")
LINKED = ("io.containerd.content.v1.content/blobs/sha256", "io.containerd.snapshotter.v1.overlayfs/snapshots")
NAMESPACE = "k8s.io"


class Stock:
    """The images that every node of a new cluster has from the start."""

    def __init__(self, supervisor: Supervisor, folders: Folders) -> None:
        self._supervisor = supervisor
        self._state = folders.state / "stock"
        self._root = layout.cache_folder() / "stock"
        # What is in it; written after it is in it, so that an interrupted `fill` is done again.
        self._list = self._root / "images.txt"

    def fill(self, references: list[str]) -> None:
        """Makes the stock hold exactly these images of the registry."""
        held = self._list.read_text().split() if self._list.exists() else []
        if held == sorted(references):
            return
        self._list.unlink(missing_ok=True)
        self._start()
        for reference in references:
            self._ctr("images", "pull", "--plain-http", reference)
        for reference in set(self._ctr("images", "list", "--quiet").split()) - set(references):
            self._ctr("images", "remove", "--sync", reference)
        self._supervisor.stop(NAME)
        self._list.write_text("\n".join(sorted(references)))

    def clone(self, target: Path) -> None:
        """Makes the `root` folder of a containerd that has the images of the stock."""
        for name in DATABASES:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._root / name, target / name)
        for name in LINKED:
            (target / name).mkdir(parents=True, exist_ok=True)
            for path in (self._root / name).iterdir():
                (target / name / path.name).symlink_to(path)

    def _start(self) -> None:
        self._state.mkdir(exist_ok=True)
        self._root.mkdir(parents=True, exist_ok=True)
        config = self._state / "containerd.toml"
        config.write_text(
            'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'root = "{self._root}"\nstate = "{self._state}/run"\n[grpc]\n  address = "{self._socket}"\n'
        )
        self._supervisor.spawn(NAME, "containerd", "--config", config)
        self._supervisor.wait(NAME, self._socket.is_socket, READY_TIMEOUT)

    @property
    def _socket(self) -> Path:
        return self._state / "containerd.sock"

    def _ctr(self, *args: str) -> str:
        return run("ctr", "--address", self._socket, "--namespace", NAMESPACE, *args)
