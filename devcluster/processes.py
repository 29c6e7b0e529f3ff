"""Starts the cluster's programs, remembers them on disk and ends them again, and nobody else's.

A process is ours if a pid file names it together with its start time (so that a number used again by another process
is never killed), or if its command line is that of a program of the cluster's state folder. The latter finds what
was started in the instant before `up` was killed, and what containerd started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import Cancelled, ProgramFailed
from devcluster.layout import Folders, Machine

HELPERS = (
    "nsenter",
    "setpriv",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "runc",
    "ctr",
    "buildah",
    "unshare",
    "mmdebstrap",
)
LOG_TAIL = 15
END_TIMEOUT = 20.0


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same pid.

    Args:
        started: start time in clock ticks after boot (field 22 of /proc/<pid>/stat).
    """

    pid: int
    started: int


def start_time(stat: str) -> int:
    """The start time in the text of /proc/<pid>/stat; the program's name in it may hold blanks and brackets."""
    return int(stat.rpartition(")")[2].split()[19])


def is_zombie(stat: str) -> bool:
    """Whether the text of /proc/<pid>/stat is that of a process which has ended."""
    return stat.rpartition(")")[2].split()[0] in "ZX"


def find(pid: int) -> Process | None:
    """The living process of that pid."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if is_zombie(stat) else Process(pid, start_time(stat))


def is_alive(process: Process) -> bool:
    """Whether that very process still runs. Reaps it if it was our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return find(process.pid) == process


def belongs(command: Sequence[str], state: Path) -> bool:
    """Whether a command line is that of one of the cluster's programs: they run from the state folder's `bin`, or are
    tools that are told to work in the state folder. An editor or a `tail -f` in that folder is not ours."""
    if not command:
        return False
    if command[0].startswith(f"{state}/bin/"):
        return True
    return Path(command[0]).name in HELPERS and any(f"{state}/" in arg for arg in command[1:])


def ours(state: Path) -> list[Process]:
    """Every process on this machine whose command line says that it is the cluster's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if belongs(command, state) and (process := find(int(folder.name))) and process.pid != os.getpid():
            found.append(process)
    return found


def end(processes: Iterable[Process]) -> None:
    """Kills these processes and waits until they are gone.

    Raises:
        ProgramFailed: one is still there after 20 seconds.
    """
    waiting = [process for process in processes if is_alive(process)]
    deadline = time.monotonic() + END_TIMEOUT
    while waiting:
        for process in waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
        waiting = [process for process in waiting if is_alive(process)]
        if waiting and time.monotonic() > deadline:
            raise ProgramFailed(f"processes {[process.pid for process in waiting]} do not end")


class Supervisor:
    """The programs that stay up. One for a cluster; its methods may be called from several threads."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self.cancelled = threading.Event()

    def log(self, name: str) -> Path:
        """Where the program writes what it has to say."""
        return self._folders.logs / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of the program's log."""
        log = self.log(name)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-LOG_TAIL:])

    def spawn(
        self, name: str, *command: str | Path, machine: Machine | None = None, env: Mapping[str, str] | None = None
    ) -> Process:
        """Starts a program that outlives this process.

        Args:
            name: names its log and pid file.
            command: the first word is a program of the state folder's `bin`, by its bare name.
            machine: whose network it lives in; None is this machine's own.
            env: added to a small clean environment: a proxy set for the user must not catch the cluster's traffic.
        """
        if self.cancelled.is_set():
            raise Cancelled("interrupted")
        enter = [] if machine is None else ["nsenter", f"--net=/run/netns/{machine.netns}", "--"]
        words = [*enter, str(self._folders.bin / command[0]), *(str(word) for word in command[1:])]
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folders.state,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folders.tmp), **(env or {})},
            )
        process = find(child.pid)
        if process is None:
            raise ProgramFailed(f"{name} ended at once\n{self.tail(name)}")
        # An exit is seen by is_alive(), which reaps; Popen need not warn about it.
        child.returncode = 0
        self._pid_file(name).write_text(json.dumps({"pid": process.pid, "started": process.started}))
        return process

    def find(self, name: str) -> Process | None:
        """The living process of the program that was started under that name, also by another `up`."""
        try:
            recorded = json.loads(self._pid_file(name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        process = Process(recorded["pid"], recorded["started"])
        return process if is_alive(process) else None

    def names(self) -> list[str]:
        """Every program that was started."""
        return sorted(path.stem for path in self._folders.pids.glob("*.json"))

    def stop(self, *names: str) -> None:
        """Kills these programs and forgets them."""
        end(process for name in names if (process := self.find(name)))
        for name in names:
            self._pid_file(name).unlink(missing_ok=True)

    def wait(self, name: str, ready: Callable[[], bool], timeout: float, what: str = "ready") -> None:
        """Waits until the program is ready.

        Raises:
            ProgramFailed: it ended, or is not ready after `timeout` seconds. The message shows the tail of its log.
            Cancelled: the user interrupted.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if self.find(name) is None:
                raise ProgramFailed(f"{name} ended before it was {what}; the end of its log:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise ProgramFailed(
                    f"{name} is not {what} after {timeout:.0f} s; the end of its log:\n{self.tail(name)}"
                )
            if self.cancelled.wait(0.1):
                raise Cancelled("interrupted")

    def _pid_file(self, name: str) -> Path:
        return self._folders.pids / f"{name}.json"
