"""Removes the cluster: no process, mount, namespace, cgroup, interface or file stays. Called by `down`, by a failed or
interrupted `up`, and at the start of every `up`, for the last one may have been killed.

It relies on nothing that a killed `up` could have failed to write.
"""

from __future__ import annotations

import shutil

from devcluster import cgroups, mounts, network, processes
from devcluster.layout import Folders
from devcluster.processes import Supervisor


def remove(folders: Folders, keep_s3: bool) -> None:
    """Removes everything.

    Args:
        keep_s3: leave the S3 server's data folder.

    Raises:
        DevclusterError: something is still there.
    """
    if shutil.which("ip") is None:
        return  # There never was a cluster here.
    _end_processes(folders)
    mounts.unmount_below(folders.state)
    network.remove()
    cgroups.remove()
    if not folders.state.exists():
        return
    for path in folders.state.iterdir():
        if keep_s3 and path == folders.s3 and any(path.iterdir()):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not any(folders.state.iterdir()):
        folders.state.rmdir()


def _end_processes(folders: Folders) -> None:
    """Ends the programs first, so that nothing starts containers again, then the containers, then what is left."""
    supervisor = Supervisor(folders)
    processes.end(process for name in supervisor.names() if (process := supervisor.find(name)))
    while found := [*processes.ours(folders.state), *cgroups.members()]:
        processes.end(found)
