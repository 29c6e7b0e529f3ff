"""Builds in a process of their own: byte for byte what the node itself would build, whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.builder import engine as builds
from vectorfleet_node.engine.builder import kept
from vectorfleet_node.engine.builder.engine import BuildEnd, BuildObserver, ProcessEngine
from vectorfleet_node.engine.builder.messages import BuildRequest
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import Build, BuildCancelled, BuildFailed, BuildJob, SearchOptions

ROWS, DIMENSIONS = 9_000, 32  # three steps of a build
VECTORS = np.random.default_rng(3).standard_normal((ROWS, DIMENSIONS), np.float32)


class Bench:
    """A node's engine, the file of vectors, and what became of each build."""

    def __init__(self, folder: Path, checkpoint_seconds: float = 0.0) -> None:
        self.folder = folder
        self.vectors = folder / "vectors"
        self.vectors.write_bytes(VECTORS.tobytes() + b"checksums")
        self.started = 0
        self.ends: list[BuildEnd] = []
        observer = BuildObserver(self._start, self.ends.append)
        self.engine = ProcessEngine(CpuEngine(build_threads=1), folder, observer, checkpoint_seconds)

    def _start(self) -> None:
        self.started += 1

    def build(self, name: str, cancelled: Callable[[int], bool] = lambda _: False) -> bytes:
        """The artefact. cancelled: gets how many rows are done."""
        done = [0]

        def progress(rows: int, of: int) -> None:
            assert 0 < rows <= of == ROWS
            done[0] = rows

        job = BuildJob(self.vectors, lambda: cancelled(done[0]), progress)
        index = self.engine.build(IndexKind.HNSW, VECTORS, Metric.COSINE, self.folder / name, job)
        found = index.search(VECTORS[:5], 1, allow=None, options=SearchOptions())[1]
        assert found[:, 0].tolist() == list(range(5))
        return (self.folder / name).read_bytes()

    @property
    def left(self) -> list[str]:
        return sorted(path.suffix for path in (self.folder / kept.FOLDER).iterdir())


@pytest.fixture(autouse=True)
def heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests build would be light."""
    monkeypatch.setattr(builds, "HEAVY", VECTORS.size)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an uninterrupted build in this process writes."""
    path = tmp_path_factory.mktemp("whole") / "index"
    CpuEngine(build_threads=1).build(IndexKind.HNSW, VECTORS, Metric.COSINE, path)
    return path.read_bytes()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_cancelled_build_ends_at_once_and_the_next_one_goes_on_where_it_was(bench: Bench, whole: bytes) -> None:
    with pytest.raises(BuildCancelled):
        bench.build("index", lambda done: done > 4096)
    assert bench.left == [".checkpoint"]
    assert bench.build("index") == whole
    first, second = bench.ends
    assert (first.outcome, second.outcome, second.resumed >= 4096) == ("cancelled", "resumed", True)
    assert (bench.started, bench.left) == (2, [".index"])


def test_the_same_index_is_not_built_twice(bench: Bench, whole: bytes) -> None:
    assert bench.build("first") == whole
    with (bench.folder / "first").open("ab") as file:
        file.write(b"the checksums that a segment's file gets")
    assert bench.build("second") == whole
    assert [end.outcome for end in bench.ends] == ["built", "reused"]
    VECTORS[7] *= -1
    try:
        bench.vectors.write_bytes(VECTORS.tobytes())
        assert bench.build("third") != whole
    finally:
        VECTORS[7] *= -1
    assert bench.ends[-1].outcome == "built"


@pytest.mark.parametrize("suffix", [".checkpoint", ".index"])
def test_what_an_earlier_build_left_is_not_trusted_when_it_has_rotted(suffix: str, bench: Bench, whole: bytes) -> None:
    if suffix == ".checkpoint":
        with suppress(BuildCancelled):
            bench.build("index", lambda done: done > 4096)
    else:
        bench.build("index")
    [left] = (bench.folder / kept.FOLDER).glob(f"*{suffix}")
    body = bytearray(left.read_bytes())
    body[len(body) * 9 // 10] ^= 1  # in the codes, where no reader notices it
    left.unlink()
    left.write_bytes(body)
    assert bench.build("again") == whole
    assert bench.ends[-1].outcome == "built"


def test_a_child_that_fails_says_why(bench: Bench) -> None:
    bench.vectors.write_bytes(b"too short")
    with pytest.raises(BuildFailed, match=r"HNSW index over 9000 x 32 cannot be built: ValueError: .*size"):
        bench.build("index")
    assert bench.ends[-1].outcome == "failed"


def test_a_child_that_is_killed_is_told_with_its_status(bench: Bench) -> None:
    def kill(done: int) -> bool:
        if done:
            os.kill(_children(os.getpid())[0], signal.SIGKILL)
        return False

    with pytest.raises(BuildFailed, match="status -9"):
        bench.build("index", kill)


def test_a_child_whose_node_is_gone_ends_at_once(bench: Bench) -> None:
    request = BuildRequest(
        kind=IndexKind.HNSW, metric=Metric.COSINE, rows=ROWS, dimensions=DIMENSIONS, vectors=bench.vectors,
        artefact=bench.folder / "index", folder=bench.folder, threads=1, checkpoint_seconds=100,
    )  # fmt: skip
    child = subprocess.run(
        [sys.executable, "-m", "vectorfleet_node.engine.builder"],
        input=f"{request.model_dump_json()}\n".encode(),  # and then the end: nobody holds the pipe any more
        stdout=subprocess.PIPE,
        timeout=100,
    )
    assert (child.returncode, b"done" in child.stdout, (bench.folder / "index").exists()) == (1, False, False)


def test_small_builds_and_those_without_a_job_stay_in_the_node(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "HEAVY", VECTORS.size + 1)
    bench.build("small")
    monkeypatch.setattr(builds, "HEAVY", 1)
    bench.engine.build(IndexKind.HNSW, VECTORS[:100], Metric.L2, bench.folder / "graph")
    job = BuildJob(bench.vectors, lambda: False)
    bench.engine.build(IndexKind.EXACT, VECTORS, Metric.L2, bench.folder / "scan", job)
    assert bench.started == 0


async def test_heavy_builds_take_turns_and_others_wait_for_nobody(bench: Bench) -> None:
    light = [Build(IndexKind.EXACT, ROWS, DIMENSIONS), Build(IndexKind.HNSW, 10, 10)]
    async with bench.engine.turn([*light, Build(IndexKind.HNSW, ROWS, DIMENSIONS)]):
        assert bench.engine._turn.locked()
        async with bench.engine.turn(light):
            pass
    assert not bench.engine._turn.locked()


NODE = """
import sys
from pathlib import Path
import numpy as np
from vectorfleet.schema import IndexKind, Metric
from vectorfleet_node.engine.builder import engine as builds
from vectorfleet_node.engine.builder.engine import BuildObserver, ProcessEngine
from vectorfleet_node.engine.cpu import CpuEngine
from vectorfleet_node.engine.port import BuildJob

builds.HEAVY = 1

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

folder, dimensions = Path(sys.argv[1]), int(sys.argv[2])
vectors = np.memmap(folder / "vectors", np.float32, "r", shape=(int(sys.argv[3]), dimensions))
ends = []
engine = ProcessEngine(CpuEngine(1), folder, BuildObserver(ended=ends.append), checkpoint_seconds=0)
before, most = anonymous(), 0
def progress(rows, of):
    global most
    most = max(most, anonymous())
    print(rows, flush=True)
job = BuildJob(folder / "vectors", lambda: False, progress)
engine.build(IndexKind.HNSW, vectors, Metric.COSINE, folder / "index", job)
print(ends[0].outcome, ends[0].resumed, max(most, anonymous()) - before, flush=True)
"""


@pytest.fixture
def node(bench: Bench) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that builds as a node does and prints the rows that are done, then what became of it."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", NODE, str(bench.folder), str(DIMENSIONS), str(ROWS)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_after_a_kill_of_the_node_its_child_ends_and_the_next_node_goes_on_from_the_checkpoint(
    node: Callable[[], subprocess.Popen[str]], bench: Bench, whole: bytes
) -> None:
    killed = node()
    assert killed.stdout is not None
    while int(killed.stdout.readline()) < 8192:  # the checkpoint of the first step is written before the second
        pass
    [child] = _children(killed.pid)
    killed.kill()
    killed.wait()
    _until(lambda: not _runs(child), "the child of a dead node ends")
    again, _ = node().communicate(timeout=120)
    outcome, resumed, grown = again.splitlines()[-1].split()
    assert (outcome, int(resumed) >= 4096) == ("resumed", True)
    assert (bench.folder / "index").read_bytes() == whole
    assert int(grown) <= len(whole) >> 11, "KiB that the node's memory grew by; half of what the graph has"
    assert bench.left == [".index"]


def test_the_folder_of_builds_is_bounded_in_number_and_age(tmp_path: Path) -> None:
    for number in range(5):
        for name in (f"{number:032x}.checkpoint", f"{number:032x}-3-00000000.index", f"{number}.tmp"):
            (tmp_path / name).write_bytes(b"abc")
            os.utime(tmp_path / name, (time.time() - 100 * number,) * 2)
    kept.tidy(tmp_path)
    assert sorted({path.name[31] for path in tmp_path.iterdir() if path.suffix != ".tmp"}) == ["0", "1"]
    kept.tidy(tmp_path, starting=True)
    assert not list(tmp_path.glob("*.tmp"))
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - kept.CHECKPOINT_SECONDS - 1,) * 2)
    kept.tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _children(process: int) -> list[int]:
    """The ids of the process' children: the field behind its state is its parent."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(status.parent.name))
    return found


def _runs(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
