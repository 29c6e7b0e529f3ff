"""What is built, when it is built again, and what is said where it cannot be built."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devcluster import debian, programs
from devcluster.errors import DevclusterError
from devcluster.programs import Program

EVERYTHING = {program.name: program for program in programs.programs()}


@pytest.fixture
def etcd(tmp_path: Path) -> Program:
    """A copy of a program's folder, to change."""
    return Program(Path(shutil.copytree(EVERYTHING["etcd"].folder, tmp_path / "etcd")), ("etcd",))


def test_every_program_is_pinned_by_hashes() -> None:
    assert {"etcd", "kubernetes", "helm", "registry", "versitygw", "coredns"} <= EVERYTHING.keys()
    without = {name for name, program in EVERYTHING.items() if not (program.folder / "go.sum").exists()}
    assert without == {"pause"}, "only the program without a dependency may lack a go.sum"


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_a_changed_source_is_built_again(etcd: Program, name: str) -> None:
    before = etcd.digest
    with (etcd.folder / name).open("a") as file:
        file.write("// changed\n")
    assert etcd.digest != before


def test_an_unchanged_program_is_found_in_the_cache_of_another_clone(etcd: Program) -> None:
    assert etcd.digest == EVERYTHING["etcd"].digest


def test_kubernetes_is_one_file_that_knows_its_version() -> None:
    kubernetes = EVERYTHING["kubernetes"]
    assert "kubelet" in kubernetes.names
    assert "version.gitVersion=v1." in kubernetes.linker_flags
    assert EVERYTHING["etcd"].linker_flags == "-s -w"


def test_a_program_is_our_main_or_the_tool_of_its_module() -> None:
    assert EVERYTHING["etcd"].package == "."
    assert EVERYTHING["helm"].package == "helm.sh/helm/v4/cmd/helm"


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.8\n", (1, 26, 8)), ("1.26.0", (1, 26, 0)), ("go1.27rc1", (1, 27)), ("devel", (0,))],
)
def test_go_versions_compare_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert programs.go_version(text) == version


def test_a_go_that_is_too_old_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "go").write_text("#!/bin/sh\necho go1.9.7\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DevclusterError, match=r"^devcluster builds Kubernetes with Go 1\.\S+ or newer; .*go1\.9\.7$"):
        programs.check_go(list(EVERYTHING.values()))


def test_a_missing_go_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DevclusterError, match="there is no `go` on PATH"):
        programs.check_go(list(EVERYTHING.values()))


def test_only_packages_that_are_really_installed_count() -> None:
    listing = "buildah installed\nrunc config-files\n" + "\n".join(
        f"{name} installed" for name in debian.PACKAGES if name not in ("buildah", "runc", "socat")
    )
    assert debian.missing(listing) == ["runc", "socat"]


def test_another_user_than_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(DevclusterError, match="must run as root"):
        debian.check_root()
