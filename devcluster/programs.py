"""Builds the cluster's Go programs from the pinned modules in `devcluster/programs`, once, and caches them by content.

Called at the start of `up`. A cold build of everything takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from devcluster import layout
from devcluster.commands import kubectl_path, run
from devcluster.errors import DevclusterError
from devcluster.progress import Reporter

SOURCES = Path(__file__).with_name("programs")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
STRIPPED = "-s -w"
BUILD_TIMEOUT = 3600.0


@dataclass(frozen=True)
class Program:
    """A folder of `devcluster/programs`: a go.mod, a go.sum and either a main.go or a `tool` directive.

    Args:
        names: what the built file is called in the cluster's `bin`.
    """

    folder: Path
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def package(self) -> str:
        """What `go build` is given: our main.go, or else the package that go.mod's `tool` directive names."""
        if (self.folder / "main.go").exists():
            return "."
        tool = re.search(r"^tool (\S+)$", self._go_mod(), re.MULTILINE)
        if tool is None:
            raise DevclusterError(f"{self.folder}: there is neither a main.go nor a `tool` line in go.mod")
        return tool.group(1)

    @property
    def linker_flags(self) -> str:
        """Stripped; the Kubernetes components also need their version, or kubelets report nonsense."""
        version = re.search(r"^\s*k8s\.io/kubernetes v(\d+)\.(\d+)\.(\S+)$", self._go_mod(), re.MULTILINE)
        if version is None:
            return STRIPPED
        major, minor, patch = version.groups()
        values = {
            "gitVersion": f"v{major}.{minor}.{patch}",
            "gitMajor": major,
            "gitMinor": minor,
            "gitCommit": "0" * 40,
            "gitTreeState": "archive",
            "buildDate": "1970-01-01T00:00:00Z",
        }
        return " ".join(
            [STRIPPED, *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())]
        )

    @property
    def digest(self) -> str:
        """Changes when what is built would change."""
        content = hashlib.sha256(self.linker_flags.encode())
        for name in ("go.mod", "go.sum", "main.go"):
            path = self.folder / name
            content.update(f"\0{name}\0".encode() + (path.read_bytes() if path.exists() else b""))
        return content.hexdigest()[:16]

    @property
    def built(self) -> Path:
        """Where the built file is, or will be."""
        return layout.cache_folder() / "programs" / f"{self.name}-{self.digest}"

    def _go_mod(self) -> str:
        return (self.folder / "go.mod").read_text()


def programs(sources: Path = SOURCES) -> list[Program]:
    """Every program; the five Kubernetes components are one file under five names."""
    folders = sorted(path for path in sources.iterdir() if (path / "go.mod").exists())
    return [Program(folder, COMPONENTS if folder.name == "kubernetes" else (folder.name,)) for folder in folders]


def go_version(text: str) -> tuple[int, ...]:
    """(1, 26, 8) for `go1.26.8`, `1.26.8` or `go1.26rc1`; an unreadable version is (0,)."""
    found = re.match(r"(?:go)?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in found.group(1).split(".")) if found else (0,)


def required_go(wanted: list[Program]) -> str:
    """The newest `go` line among the go.mod files."""
    lines = [re.search(r"^go (\S+)$", (program.folder / "go.mod").read_text(), re.MULTILINE) for program in wanted]
    return max((line.group(1) for line in lines if line), key=go_version)


def check_go(wanted: list[Program]) -> None:
    """Raises DevclusterError in one line if Go is missing or older than a go.mod demands."""
    required = required_go(wanted)
    if shutil.which("go") is None:
        raise DevclusterError(f"devcluster builds Kubernetes with Go {required} or newer, and there is no `go` on PATH")
    found = run("go", "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}).strip()
    if go_version(found) < go_version(required):
        raise DevclusterError(f"devcluster builds Kubernetes with Go {required} or newer; `go` on PATH is {found}")


def build_missing(reporter: Reporter, only: Collection[str] | None = None) -> list[Program]:
    """Builds what the cache does not hold yet; returns all programs, or those of the names in `only`."""
    everything = [program for program in programs() if only is None or program.name in only]
    missing = [program for program in everything if not program.built.exists()]
    if missing:
        check_go(missing)
    for number, program in enumerate(missing, 1):
        with reporter.step(f"building {program.name} ({number} of {len(missing)})"):
            _build(program)
    return everything


def build_one(name: str, reporter: Reporter, sources: Path = SOURCES) -> Path:
    """Builds one program unless the cache holds it; its file. For tests and benchmarks that need no cluster."""
    program = next(program for program in programs(sources) if program.name == name)
    if not program.built.exists():
        check_go([program])
        with reporter.step(f"building {name}"):
            _build(program)
    return program.built


def _build(program: Program) -> None:
    unfinished = program.built.with_suffix(f".{os.getpid()}")
    program.built.parent.mkdir(parents=True, exist_ok=True)
    try:
        run(
            "go", "build", "-trimpath", "-ldflags", program.linker_flags, "-o", unfinished, program.package,
            cwd=program.folder,
            env={"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            timeout=BUILD_TIMEOUT,
        )  # fmt: skip
        unfinished.rename(program.built)
    finally:
        unfinished.unlink(missing_ok=True)


def link(built: list[Program], folder: Path) -> None:
    """Links the programs, and the two that come from Debian and PyPI, into the cluster's `bin`."""
    targets = {name: program.built for program in built for name in program.names}
    containerd = shutil.which("containerd")
    if containerd is None:
        raise DevclusterError("containerd is not on PATH")
    targets |= {"kubectl": kubectl_path(), "containerd": Path(containerd)}
    for name, target in targets.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
