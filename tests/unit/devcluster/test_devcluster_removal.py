"""What `down` takes away, what it leaves, and that two commands do not work on the cluster at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devcluster import cgroups, cleanup, layout, mounts, network, state
from devcluster.errors import DevclusterError
from devcluster.layout import Folders

MOUNTINFO = """\
20 1 8:1 / / rw - ext4 /dev/vda rw
31 20 0:5 / /var/lib/x/nodes/n1/kubelet rw - ext4 /dev/vda rw
32 31 0:6 / /var/lib/x/nodes/n1/kubelet/pods/a/volumes/my\\040secret rw - tmpfs tmpfs rw
33 20 0:7 / /var/lib/xylophone rw - tmpfs tmpfs rw
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A state folder as after a crash. The machine's real network and cgroups are left alone."""
    monkeypatch.setattr(network, "remove", lambda: None)
    monkeypatch.setattr(cgroups, "remove", lambda: None)
    monkeypatch.setattr(cgroups, "members", list)
    made = Folders(tmp_path / "state")
    made.make()
    (made.s3 / "bucket").mkdir()
    (made.logs / "etcd.log").write_text("")
    (made.bin / "etcd").symlink_to("/nowhere")
    return made


def test_nothing_of_the_state_folder_is_left(folders: Folders) -> None:
    cleanup.remove(folders, keep_s3=False)
    assert not folders.state.exists()


def test_the_buckets_stay_when_they_are_to_be_kept(folders: Folders) -> None:
    cleanup.remove(folders, keep_s3=True)
    assert list(folders.state.iterdir()) == [folders.s3]
    assert (folders.s3 / "bucket").is_dir()


def test_an_empty_folder_of_buckets_is_not_kept(folders: Folders) -> None:
    (folders.s3 / "bucket").rmdir()
    cleanup.remove(folders, keep_s3=True)
    assert not folders.state.exists()


def test_removing_twice_is_no_error(folders: Folders) -> None:
    cleanup.remove(folders, keep_s3=False)
    cleanup.remove(folders, keep_s3=False)


def test_mounts_below_a_folder_are_found_innermost_first_and_those_of_a_namesake_are_not() -> None:
    assert mounts.below(Path("/var/lib/x"), MOUNTINFO) == [
        "/var/lib/x/nodes/n1/kubelet/pods/a/volumes/my secret",
        "/var/lib/x/nodes/n1/kubelet",
    ]


def test_a_second_command_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with state.locked(lock), pytest.raises(DevclusterError, match="another devcluster command"), state.locked(lock):
        pass
    with state.locked(lock):
        pass


def test_the_lock_of_a_killed_command_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, devcluster.state as state\n"
        "with state.locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=layout.REPOSITORY,
    )  # fmt: skip
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DevclusterError), state.locked(tmp_path / "lock"):
            pass
        holder.kill()
        holder.wait()
    with state.locked(tmp_path / "lock"):
        pass


@pytest.fixture
def hierarchy(tmp_path: Path) -> Path:
    """Something like /sys/fs/cgroup with two v1 hierarchies, an alias of one, and a cgroup2 beside them."""
    for name in ("memory", "cpuset", "unified"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text("")
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0")
    (tmp_path / "unified" / "cgroup.controllers").write_text("")
    (tmp_path / "ram").symlink_to("memory")
    return tmp_path


def test_a_node_gets_a_group_in_every_v1_hierarchy_and_a_cpuset_it_can_run_in(hierarchy: Path) -> None:
    cgroups.make(layout.node(1), hierarchy)
    assert (hierarchy / "memory/vectorfleet/n1").is_dir()
    assert (hierarchy / "cpuset/vectorfleet/n1/cpuset.cpus").read_text() == "0-1"
    assert not (hierarchy / "unified/vectorfleet").exists()


def test_groups_are_removed_innermost_first(hierarchy: Path) -> None:
    for name in ("memory", "unified"):
        (hierarchy / name / "vectorfleet/n1/kubepods/pod").mkdir(parents=True)
    cgroups.remove(hierarchy)
    assert not (hierarchy / "memory/vectorfleet").exists()
    assert not (hierarchy / "unified/vectorfleet").exists()
