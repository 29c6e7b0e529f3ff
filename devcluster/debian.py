"""Makes sure that this machine can run a cluster: root, Debian, and the packages that Debian provides.

Called at the start of `up`. What cannot be mended is told in one line.
"""

from __future__ import annotations

import os
import shutil

from devcluster.commands import run
from devcluster.errors import CommandFailed, DevclusterError
from devcluster.progress import Reporter

PACKAGES = (
    "buildah", "ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "ethtool", "iproute2",
    "iptables", "mmdebstrap", "nftables", "runc", "socat", "util-linux",
)  # fmt: skip
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def missing(dpkg_query: str) -> list[str]:
    """The packages that are not installed, by the output of dpkg-query (`name status` a line)."""
    installed = {line.split()[0] for line in dpkg_query.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in installed]


def check_root() -> None:
    """Raises DevclusterError unless we are root."""
    if os.geteuid() != 0:
        raise DevclusterError("devcluster makes network namespaces and mounts, so it must run as root (try sudo)")


def install_missing(reporter: Reporter) -> None:
    """Installs what is missing of PACKAGES.

    Raises:
        DevclusterError: this is not Debian, or apt-get failed.
    """
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        raise DevclusterError(
            f"devcluster installs Debian packages, and this is not Debian; it needs {', '.join(PACKAGES)}"
        )
    wanted = missing(run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES, check=False))
    if not wanted:
        return
    with reporter.step(f"installing {', '.join(wanted)} with apt-get"):
        try:
            run("apt-get", "update", "-q", env=QUIET)
            run("apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted, env=QUIET)
        except CommandFailed as error:
            raise DevclusterError(f"could not install {', '.join(wanted)}: {error}") from error
