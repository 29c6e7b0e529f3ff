"""The parts' end of a worker process: start one, tell it what to do, tune it, let several take turns.

A failed peer raises PeerFailed and ends the run: it is never left out in silence.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.search.data import Dataset, lay_down
from benchmarks.search.measures import Tuned, tune
from benchmarks.search.peers import known
from benchmarks.search.peers.base import ALL, Ask
from benchmarks.search.processes import Cores
from benchmarks.search.settings import WANTED
from devcluster.errors import DevclusterError
from devcluster.programs import build_one
from devcluster.progress import Reporter

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = ROOT / "benchmarks" / "programs"
BENCH_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"


class PeerFailed(Exception):
    """A peer could not be started, or a command failed; the message says which."""


class Worker:
    """A peer's process. Each command is a method of `worker.Bench`."""

    def __init__(self, name: str, folder: Path, options: dict[str, Any]) -> None:
        python = Path(sys.executable) if known(name).own else BENCH_PYTHON
        if not python.exists():
            raise PeerFailed(f"{name}: there is no {python.relative_to(ROOT)}; `make bench-search` installs the peers")
        self.name = name
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.search.worker", name, folder, json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def do(self, what: str, **told: Any) -> dict[str, Any]:
        """Sends a command; its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a worker is started with pipes")
        self._process.stdin.write(json.dumps({"do": what, **told}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} failed at {what}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def closed(self, ask: Ask, clients: int, seconds: float) -> dict[str, Any]:
        """As `Bench.closed`, any refusal being a failure: what is refused was not served."""
        answer = self.do("closed", ask=asdict(ask), clients=clients, seconds=seconds)
        if answer["failed"]:
            raise PeerFailed(f"{self.name} refused queries of {clients} clients: {answer['failed']}")
        return answer

    def serve(self, cores: Cores, **options: Any) -> None:
        """Puts server and client on their cores; options of the peer hold from now on."""
        self.do("serve", server=cores.server, client=cores.client, **options)

    def recall(self, ask: Ask, effort: int) -> float:
        """Of every query asked once."""
        found: float = self.do("once", ask=asdict(replace(ask, effort=effort)))["recall"]
        return found

    def floor(self, ask: Ask) -> float:
        """The recall at the least effort."""
        return self.recall(ask, self.do("efforts")["least"])

    def tuned(self, ask: Ask, wanted: float = WANTED) -> tuple[Ask, Tuned]:
        """The question with the least effort that has the wanted recall, or with the largest."""
        efforts = self.do("efforts")
        found = tune(partial(self.recall, ask), efforts["least"], efforts["most"], wanted)
        return replace(ask, effort=found.effort), found

    def close(self) -> None:
        """Ends the process by the end of its input."""
        self._process.communicate()


def built(name: str) -> dict[str, str]:
    """Options of a peer that is a Go program: it, built if the cache has none yet, and the folder of its module."""
    module = known(name).go_module
    if not module:
        return {}
    try:
        program = build_one(name, Reporter(), PROGRAMS)
        command = ["go", "mod", "download", "-json", module]
        found = subprocess.run(command, cwd=PROGRAMS / name, check=True, capture_output=True, text=True)
    except (DevclusterError, subprocess.CalledProcessError) as error:
        raise PeerFailed(f"{name} could not be built: {error}") from None
    return {"program": str(program), "module": json.loads(found.stdout)["Dir"]}


@dataclass(frozen=True)
class Stage:
    """A data set on disk, and the workers that were started over it."""

    folder: Path
    stack: ExitStack

    def start(self, name: str, **options: Any) -> tuple[Worker, float]:
        """A peer with all rows in it, and the seconds that took."""
        options |= built(name)
        worker = Worker(name, self.folder, options)
        self.stack.callback(worker.close)
        return worker, worker.do("load")["seconds"]


@contextmanager
def stage(dataset: Dataset, k: int, belows: Sequence[int] = (ALL,)) -> Iterator[Stage]:
    """Lays the data down; ends all workers and removes everything at the end."""
    with TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        lay_down(dataset, Path(scratch), k, belows)
        yield Stage(Path(scratch), stack)
