"""`vectorfleet fsck` and `log` on a real S3 server: sound, damaged, repaired, and where nothing can be looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.gateway import Gateway
from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.open import open_store

sys.path[:0] = [str(Path(__file__).parents[1] / "unit" / "node" / part) for part in ("shard", "maintenance")]
URL = "s3://bucket/things"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "s3") as running:
        running.make_bucket("bucket")
        yield running


def run(gateway: Gateway, *arguments: str, code: int, **environment: str) -> str:
    """Output of the command, both streams."""
    done = subprocess.run(
        [sys.executable, "-c", "from vectorfleet.cli import main; main()", *arguments, "--endpoint", gateway.endpoint],
        env={**os.environ, **gateway.credentials, **environment, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_a_collection_in_a_bucket_is_checked_damaged_and_repaired(gateway: Gateway, tmp_path: Path) -> None:
    from collections_at_rest import flipped, make

    store = open_store(StorageLocation(url=URL, endpoint=gateway.endpoint), gateway.credentials)
    rows = await make(store, tmp_path / "cache")
    assert "clean: every object that counts" in run(gateway, "fsck", URL, code=0)
    assert "writes 40 rows in 1 request" in run(gateway, "log", URL, code=0)
    (key,) = [key for key in await store.list("shards/0/manifests/") if key.endswith("6")]
    await store.put(key, flipped(await store.get(key) or b""))
    assert f"{key}: manifest 6 of shard 0 is damaged" in run(gateway, "fsck", URL, code=1)
    assert f"{key} is in quarantine" in run(gateway, "fsck", URL, "--repair", code=0)
    assert f" {len(rows)} " in run(gateway, "fsck", URL, code=0)


@pytest.mark.parametrize("command", ["log", "fsck"])
def test_wrong_credentials_and_no_such_bucket_are_one_line_and_exit_code_2(command: str, gateway: Gateway) -> None:
    said = run(gateway, command, URL, code=2, AWS_SECRET_ACCESS_KEY="wrong")
    assert len(said.splitlines()) == 1
    assert "SignatureDoesNotMatch" in said
    said = run(gateway, command, "s3://nowhere/things", code=2)
    assert len(said.splitlines()) == 1
    assert "the bucket does not exist" in said
    said = run(gateway, command, "s3://bucket/other", code=2)
    assert "there is no collection at s3://bucket/other" in said
