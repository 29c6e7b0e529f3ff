"""A node's cache across restarts: what is whole is used without the store, what is not is fetched anew, never used."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from replicas import Counts, contents, leading, make_replica, new_shard, row_hash, running, upsert, write
from steered import SteeredStore

from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.storage.local import LocalStore

KINDS = ["rows", "vectors", "index", "fields", "requests"]
# Dies by SIGKILL at the n-th thing that Python's runtime does with files once the download has begun.
DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from vectorfleet_node.storage.local import LocalStore
root, key, target, last = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
store = LocalStore.open(Path(root))
left = [last]
def count(event, arguments):
    if event.split(".")[0] in ("open", "os", "shutil"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
asyncio.run(store.download(key, target))
left[0] = 0
"""


async def made(store: SteeredStore, folder: Path) -> tuple[dict[object, object], str]:
    """A sealed shard and a record after it, its files in `folder`/maker; its rows and their hash."""
    await new_shard(store)
    async with leading(make_replica(store, folder, "maker")) as leader:
        await write(leader, upsert([f"k{number}" for number in range(40)], 1))
        await leader.flush()
        await write(leader, upsert(["k3", "new"], 2))
        return dict(contents(leader.view())), row_hash(leader)


async def test_a_warm_node_asks_the_store_for_the_manifest_and_the_log_and_for_nothing_else(tmp_path: Path) -> None:
    store = SteeredStore()
    rows, hashed = await made(store, tmp_path)
    store.calls.clear()
    counts = Counts()
    async with running(replica := make_replica(store, tmp_path, "maker", counts=counts)):
        assert (contents(replica.view()), row_hash(replica)) == (rows, hashed)
        kinds = {call.split(" ")[0] + " " + call.split("/")[2] for call in store.calls}
        assert kinds == {"list manifests", "get manifests", "list log", "get log", "get boundary"}
        assert counts.built == 0


def torn(body: bytes, source: random.Random) -> Iterator[bytes]:
    """What a power cut may leave of a file whose name reached the disk and whose bytes did not."""
    yield b""
    yield bytes(len(body))
    yield body[: source.randrange(len(body))]
    cut = source.randrange(len(body))
    yield body[:cut] + bytes(len(body) - cut)
    yield bytes(cut) + body[cut:]
    yield body + b"\0"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_whose_bytes_a_power_cut_took_is_fetched_anew(kind: str, tmp_path: Path) -> None:
    store, source = SteeredStore(), random.Random(kind)
    rows, hashed = await made(store, tmp_path)
    (path,) = (tmp_path / "maker").glob(f"*.{kind}")
    body = path.read_bytes()
    for number, rest in enumerate(torn(body, source)):
        path.write_bytes(rest)
        store.calls.clear()
        async with running(replica := make_replica(store, tmp_path, "maker")):
            assert (contents(replica.view()), row_hash(replica)) == (rows, hashed), f"case {number}"
        assert store.asked("download") == (rest != body), f"case {number}"
        assert path.read_bytes() == body


async def test_unfinished_files_are_never_used_and_are_gone_after_the_start(tmp_path: Path) -> None:
    store = SteeredStore()
    rows, hashed = await made(store, tmp_path)
    folder = tmp_path / "maker"
    (victim,) = folder.glob("*.vectors")
    body = victim.read_bytes()
    victim.unlink()
    leftovers = [".tmp-0123", f".{victim.name}.abcd", f"{victim.name}.store.tmp", "00ff.tmp"]
    for name in leftovers:
        (folder / name).write_bytes(body[:100])
    budget = CacheBudget()
    async with running(replica := make_replica(store, tmp_path, "maker", budget=budget)):
        assert (contents(replica.view()), row_hash(replica)) == (rows, hashed)
        assert not [name for name in leftovers if (folder / name).exists()]
        assert budget.used == sum(path.stat().st_size for path in folder.glob("*"))


async def test_a_file_that_vanishes_while_the_folder_is_looked_at_stops_nobody(tmp_path: Path) -> None:
    store = SteeredStore()
    rows, hashed = await made(store, tmp_path)
    (tmp_path / "maker" / "2-00-00000000.rows").symlink_to("gone")  # it is listed, and is not there when it is asked
    async with running(replica := make_replica(store, tmp_path, "maker")):
        assert (contents(replica.view()), row_hash(replica)) == (rows, hashed)


async def test_a_download_that_is_killed_at_any_step_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    memory = SteeredStore()
    rows, hashed = await made(memory, tmp_path)
    (source,) = (tmp_path / "maker").glob("*.vectors")
    key = f"shards/0/segments/{source.name}"
    local = LocalStore.open(tmp_path / "store")
    for name, body in memory.inner._objects.items():
        await local.create(name, body)
    steps = 0
    while True:
        steps += 1
        folder = tmp_path / f"killed-{steps}"
        folder.mkdir()
        killed = run_until_killed(tmp_path / "store", key, folder / source.name, steps)
        async with running(replica := make_replica(local, tmp_path, folder.name)):
            assert (contents(replica.view()), row_hash(replica)) == (rows, hashed), f"killed at step {steps}"
            names = {path.name for path in folder.iterdir()}
            assert names == {path.name for path in (tmp_path / "maker").iterdir()}, f"killed at step {steps}"
        if not killed:
            break
    assert steps > 4, "the kills did not happen"


def run_until_killed(root: Path, key: str, target: Path, step: int) -> bool:
    command = [sys.executable, "-c", DIES, str(root), key, str(target), str(step)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0
