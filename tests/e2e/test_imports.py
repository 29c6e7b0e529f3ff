"""A Parquet object of a bucket imported into a fleet, whose leader's pod dies in the middle of it."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clusters import ROOT, ObjectStore
from fleet import ROWS, Fleet, forwarded, rows
from pyarrow import fs

from vectorfleet import open_source

PART_ROWS = 1000


@pytest.fixture
def url(fleet: Fleet, bucket: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """`rows(ROWS, 1)`, every third in English, as an object; the environment leads to it."""
    if not store.host_endpoint:
        pytest.skip("the S3 server of this cluster is not reached from outside of it")
    settings = {
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_ENDPOINT_URL": store.host_endpoint,
        "AWS_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    keys, vectors = rows(ROWS, 1)
    languages = ["en" if number % 3 == 0 else "de" for number in range(ROWS)]
    path = f"{bucket}/files-{fleet.namespace}/rows.parquet"
    scheme, _, host = store.host_endpoint.partition("://")
    files = fs.S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1")
    pq.write_table(pa.table({"key": keys, "vector": list(vectors), "lang": languages}), path, filesystem=files)
    return f"s3://{path}"


def import_command(fleet: Fleet, url: str) -> str:
    """What `vectorfleet import` says."""
    with forwarded(fleet.commands, fleet.namespace, f"service/{fleet.name}", 7300) as address:
        done = subprocess.run(
            [str(ROOT / ".venv/bin/vectorfleet"), "import", fleet.name, url, "--part-rows", str(PART_ROWS)],
            env={**os.environ, "VECTORFLEET_SERVER": address, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_import_goes_on_when_the_leaders_pod_dies_and_again_when_it_was_stopped(fleet: Fleet, url: str) -> None:
    fleet.apply()
    fleet.wait_for("FullyReplicated")
    with fleet.client() as client:
        shard = client.describe(fleet.name).shards[0]
    leader = next(replica.node for replica in shard.replicas if replica.leader)
    other = next(pod["metadata"]["name"] for pod in fleet.pods() if pod["metadata"]["name"] != leader)

    def progress(stored: int, _: int | None) -> None:
        if stored >= ROWS // 4 and leaders:
            fleet.kubectl("delete", "pod", leaders.pop(), "--force", "--grace-period=0")
        if stored >= ROWS // 2:
            raise KeyboardInterrupt

    leaders = [leader]
    with fleet.client(other) as client, pytest.raises(KeyboardInterrupt):
        client.import_rows(fleet.name, open_source(url), part_rows=PART_ROWS, progress=progress)
    fleet.wait_for("FullyReplicated")
    said = import_command(fleet, url)
    assert "rows/s" in said
    assert "by an earlier import" in said
    assert said != import_command(fleet, url)
    check(fleet)
    old = {pod["metadata"]["uid"] for pod in fleet.pods()}
    before = fleet.answers()
    fleet.kubectl("delete", "pods,pvc", "-l", f"vectorfleet.io/collection={fleet.name}", "--wait=false")
    fleet.wait_for_new_pods(old)
    fleet.wait_for("FullyReplicated")
    assert fleet.answers() == before
    check(fleet)


def check(fleet: Fleet) -> None:
    """Every row is there once, on every node, as the object has it."""
    keys, vectors = rows(ROWS, 1)
    numbers = {key: number for number, key in enumerate(keys)}
    for pod in fleet.pods():
        with fleet.client(pod["metadata"]["name"]) as client:
            assert client.count(fleet.name, consistency="Strong") == ROWS
            assert client.count(fleet.name, filter='lang == "en"', consistency="Strong") == ROWS // 3
            every_tenth = [f"row-{number}" for number in range(0, ROWS, 10)]
            for row in client.get(fleet.name, every_tenth, include_vectors=True, consistency="Strong"):
                np.testing.assert_allclose(row.vectors["default"], vectors[numbers[str(row.key)]], rtol=1e-6)
