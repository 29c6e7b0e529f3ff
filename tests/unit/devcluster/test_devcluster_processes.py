"""Only what the cluster started is ever killed, and all of it is found again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.errors import Cancelled, ProgramFailed
from devcluster.layout import Folders
from devcluster.processes import Process, Supervisor

STATE = Path("/var/lib/x")


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    """A state folder whose `bin` has a `sleep` and a `sh`; what was started from it is ended afterwards."""
    made = Folders(tmp_path / "state")
    made.make()
    for name in ("sleep", "sh"):
        found = shutil.which(name)
        assert found
        (made.bin / name).symlink_to(found)
    yield made
    processes.end(processes.ours(made.state))


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the cluster."""
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def test_a_start_time_is_read_behind_a_name_with_blanks_and_brackets() -> None:
    fields = " ".join(str(number) for number in range(3, 53))
    assert processes.start_time(f"7 (a) b (c)) {fields}") == 22


def test_a_pid_that_was_used_again_is_never_killed(bystander: subprocess.Popen[bytes]) -> None:
    now = processes.find(bystander.pid)
    assert now
    processes.end([Process(now.pid, now.started - 1)])
    assert bystander.poll() is None


def test_a_recorded_pid_that_was_used_again_counts_as_ended(
    folders: Folders, bystander: subprocess.Popen[bytes]
) -> None:
    (folders.pids / "etcd.json").write_text(f'{{"pid": {bystander.pid}, "started": 1}}')
    supervisor = Supervisor(folders)
    assert supervisor.find("etcd") is None
    supervisor.stop("etcd")
    assert bystander.poll() is None


@pytest.mark.parametrize(
    "command",
    [
        ["/var/lib/x/bin/etcd", "--data-dir", "/var/lib/x/etcd"],
        ["/usr/bin/containerd-shim-runc-v2", "-id", "1", "-address", "/var/lib/x/nodes/n1/containerd.sock"],
        ["nsenter", "--net=/run/netns/vectorfleet-n1", "--", "/var/lib/x/bin/kubelet"],
        ["buildah", "--root=/cache", "--runroot=/var/lib/x/containers", "bud"],
    ],
)
def test_a_command_line_of_the_cluster_is_recognised(command: list[str]) -> None:
    assert processes.belongs(command, STATE)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["tail", "-f", "/var/lib/x/logs/etcd.log"],
        ["vim", "/var/lib/x/kubeconfig"],
        ["/usr/bin/containerd", "--config", "/etc/containerd/config.toml"],
        ["/usr/bin/containerd-shim-runc-v2", "-address", "/var/lib/xylophone/containerd.sock"],
        ["buildah", "bud", "."],
    ],
)
def test_a_command_line_of_somebody_else_is_left_alone(command: list[str]) -> None:
    assert not processes.belongs(command, STATE)


def test_a_program_is_found_and_stopped_by_another_supervisor(folders: Folders) -> None:
    started = Supervisor(folders).spawn("sleeper", "sleep", "60")
    later = Supervisor(folders)
    assert later.names() == ["sleeper"]
    assert later.find("sleeper") == started
    later.stop("sleeper")
    assert not processes.is_alive(started)
    assert later.names() == []


def test_a_program_whose_pid_was_not_written_down_is_found_by_its_command_line(folders: Folders) -> None:
    started = Supervisor(folders).spawn("sleeper", "sleep", "60")
    (folders.pids / "sleeper.json").unlink()
    deadline = time.monotonic() + 60
    while not (found := processes.ours(folders.state)):
        assert time.monotonic() < deadline
    assert found == [started]


def test_a_program_outlives_the_terminal_it_was_started_from(folders: Folders) -> None:
    started = Supervisor(folders).spawn("sleeper", "sleep", "60")
    assert os.getsid(started.pid) == started.pid


def test_the_error_for_a_program_that_ended_shows_the_end_of_its_log(folders: Folders) -> None:
    supervisor = Supervisor(folders)
    supervisor.spawn("broken", "sh", "-c", "sleep 0.2; echo no such flag; exit 3")
    with pytest.raises(ProgramFailed, match=r"(?s)broken ended before it was ready.*no such flag"):
        supervisor.wait("broken", lambda: False, timeout=20)


def test_the_error_for_a_program_that_is_not_ready_in_time_names_it(folders: Folders) -> None:
    supervisor = Supervisor(folders)
    supervisor.spawn("slow", "sleep", "60")
    with pytest.raises(ProgramFailed, match="slow is not ready after 0 s"):
        supervisor.wait("slow", lambda: False, timeout=0)


def test_after_an_interruption_nothing_is_started_or_waited_for(folders: Folders) -> None:
    supervisor = Supervisor(folders)
    supervisor.spawn("sleeper", "sleep", "60")
    supervisor.cancelled.set()
    with pytest.raises(Cancelled):
        supervisor.spawn("late", "sleep", "60")
    with pytest.raises(Cancelled):
        supervisor.wait("sleeper", lambda: False, timeout=60)


def test_a_proxy_of_the_user_does_not_reach_the_programs(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    supervisor = Supervisor(folders)
    process = supervisor.spawn("sleeper", "sleep", "60")
    environment = Path(f"/proc/{process.pid}/environ").read_text()
    assert "proxy.example" not in environment
