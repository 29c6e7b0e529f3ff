"""What is written down about a complete cluster, and the lock that keeps commands from working on it at once."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from devcluster import layout
from devcluster.errors import DevclusterError
from devcluster.programs import Program


@dataclass(frozen=True)
class Description:
    """A complete cluster.

    Args:
        nodes: how many.
        made_by: hash of the programs and of the code that started them; another one means that it is out of date.
        pause: reference of the pause image, with which a stopped node is started again.
    """

    nodes: int
    made_by: str
    pause: str

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Description | None:
    """The description of the cluster, if `up` came to its end."""
    try:
        return Description(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def made_by(programs: list[Program]) -> str:
    """The hash of the programs and of devcluster itself."""
    content = hashlib.sha256(" ".join(program.digest for program in programs).encode())
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("manifests/*.yaml")]):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


@contextmanager
def locked(path: Path = layout.LOCK) -> Iterator[None]:
    """Holds the lock of this machine's one cluster; the kernel lets go of it when this process dies.

    Raises:
        DevclusterError: another command holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DevclusterError(
                "another devcluster command is at work on this machine; wait for it or end it"
            ) from error
        yield
