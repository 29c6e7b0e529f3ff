"""Builds container images with buildah and puts them into the registry. Called by `up` and by `Cluster.build_and_load`.

A tag is the hash of everything the image is made from: an unchanged tree builds and pushes nothing, and a changed one
has another reference, so that pods really get the new code.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster import layout, pip_settings, registry
from devcluster.commands import run
from devcluster.errors import DevclusterError
from devcluster.layout import Folders
from devcluster.programs import Program
from devcluster.progress import Reporter

PARTS = ("operator", "node")
# What .dockerignore lets through.
CONTEXT = (".dockerignore", "LICENSE", "README.md", "client", "node", "operator", "pyproject.toml", "requirements.lock")
SUITE = "bookworm"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
PROGRAM_DOCKERFILE = 'FROM scratch\nCOPY {name} /{name}\nENTRYPOINT ["/{name}"]\n'
BASE_DOCKERFILE = "FROM scratch\nADD base.tar /\n"


@dataclass(frozen=True)
class SystemImages:
    """References of the images that the cluster itself runs."""

    pause: str
    coredns: str
    base: str


def context_files(root: Path) -> Iterator[Path]:
    """Every file that a part's image is made from, in a fixed order."""
    for name in CONTEXT:
        path = root / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def context_digest(root: Path, part: str, base: str) -> str:
    """Changes when the image of that part would change."""
    content = hashlib.sha256(f"{part}\0{base}".encode())
    for file in context_files(root):
        content.update(f"\0{file.relative_to(root)}\0".encode())
        content.update(file.read_bytes())
    return content.hexdigest()[:16]


def base_digest() -> str:
    """Changes when another base image is asked for."""
    return hashlib.sha256(f"{SUITE} {BASE_PACKAGES} {BASE_DOCKERFILE}".encode()).hexdigest()[:16]


class Images:
    """The images of a cluster: buildah's storage is in the cache folder, the registry is the cluster's."""

    def __init__(self, folders: Folders, reporter: Reporter) -> None:
        self._folders = folders
        self._reporter = reporter

    def system(self, programs: list[Program]) -> SystemImages:
        """Sees to it that the registry has the images that the cluster itself runs."""
        by_name = {program.name: program for program in programs}
        base = f"{layout.REGISTRY}/base:{base_digest()}"
        if not registry.holds(base):
            self._base()
            self._push(self._local("base", base_digest()), base)
        return SystemImages(self._of_program(by_name["pause"]), self._of_program(by_name["coredns"]), base)

    def part(self, part: str) -> str:
        """Builds and pushes the image of `operator` or `node` from this tree, unless the registry has it.

        Returns:
            The reference to put into a pod.
        """
        if part not in PARTS:
            raise DevclusterError(f"image {part!r}: expected one of {', '.join(PARTS)}")
        tag = context_digest(layout.REPOSITORY, part, base_digest())
        reference = f"{layout.REGISTRY}/vectorfleet-{part}:{tag}"
        if registry.holds(reference):
            return reference
        local = self._local(f"vectorfleet-{part}", tag)
        with self._reporter.step(f"building the image of the {part}"):
            base = self._base()
            dockerfile = layout.REPOSITORY / part / "Dockerfile"
            self._build(dockerfile, layout.REPOSITORY, local, f"--build-arg=BASE={base}")
        with self._reporter.step(f"pushing the image of the {part}"):
            self._push(local, reference)
        return reference

    def archive(self, path: Path) -> str:
        """Pushes an image from a file that `docker save` or `buildah push docker-archive:` wrote.

        Returns:
            The reference to put into a pod; its tag is the hash of the file.
        """
        with path.open("rb") as file:
            tag = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        reference = f"{layout.REGISTRY}/{path.stem.lower()}:{tag}"
        if not registry.holds(reference):
            with self._reporter.step(f"pushing {path.name}"):
                local = self._buildah("pull", "--quiet", f"docker-archive:{path.resolve()}").strip()
                self._push(local, reference)
        return reference

    def _base(self) -> str:
        """The base image in buildah's storage: Debian with Python, as a user's `python:3.11-slim-bookworm` would be."""
        local = self._local("base", base_digest())
        if self._has(local):
            return local
        with self._reporter.step(f"making the base image (Debian {SUITE} with Python)"), self._scratch() as folder:
            tar = folder / "base.tar"
            run(
                "mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, tar,
                env={"TMPDIR": str(folder)}, log=self._folders.logs / "mmdebstrap.log", enclosed=True,
            )  # fmt: skip
            self._build_text(BASE_DOCKERFILE, folder, local)
        return local

    def _of_program(self, program: Program) -> str:
        reference = f"{layout.REGISTRY}/{program.name}:{program.digest}"
        if registry.holds(reference):
            return reference
        local = self._local(program.name, program.digest)
        with self._reporter.step(f"making the image of {program.name}"), self._scratch() as folder:
            shutil.copy(program.built, folder / program.name)
            self._build_text(PROGRAM_DOCKERFILE.format(name=program.name), folder, local)
            self._push(local, reference)
        return reference

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._folders.tmp) as folder:
            # mmdebstrap's own user reads in it.
            Path(folder).chmod(0o755)
            yield Path(folder)

    @staticmethod
    def _local(name: str, tag: str) -> str:
        return f"localhost/{name}:{tag}"

    def _has(self, local: str) -> bool:
        return bool(self._buildah("images", "--quiet", local, check=False).strip())

    def _build_text(self, dockerfile: str, folder: Path, local: str) -> None:
        file = folder / "Dockerfile"
        file.write_text(dockerfile)
        self._build(file, folder, local)

    def _build(self, dockerfile: Path, context: Path, local: str, *options: str) -> None:
        # What a killed build was working in; nobody else has anything in this storage.
        self._buildah("rm", "--all")
        self._buildah(
            "bud", "--isolation=chroot", "--network=host", "--layers", "--pull=false",
            f"--tag={local}", f"--file={dockerfile}",
            *pip_settings.volumes(self._folders.tmp), *options, str(context),
        )  # fmt: skip

    def _push(self, local: str, reference: str) -> None:
        self._buildah("push", "--tls-verify=false", "--quiet", local, f"docker://{reference}")

    def _buildah(self, *args: str, check: bool = True) -> str:
        storage = layout.cache_folder() / "containers"
        run_root = self._folders.state / "containers"
        where = [f"--root={storage}", f"--runroot={run_root}", "--storage-driver=overlay"]
        return run("buildah", *where, *args, check=check, env={"TMPDIR": str(self._folders.tmp)}, enclosed=True)
