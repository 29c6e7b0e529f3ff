"""An S3 server of this machine: versitygw over a folder, as `devcluster` builds it. Used by `s3`."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from obstore.store import S3Store

from benchmarks.search.processes import free_port
from devcluster.programs import build_one
from devcluster.progress import Reporter
from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import Store

_BUCKET: Final = "benchmark"
_READY: Final = 20.0  # seconds


@dataclass(frozen=True)
class Gateway:
    """A server that runs."""

    port: int
    secret: str

    @property
    def _endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": _BUCKET, "AWS_SECRET_ACCESS_KEY": self.secret}

    def store(self, prefix: str) -> Store:
        """The store as a node opens it."""
        location = StorageLocation(url=f"s3://{_BUCKET}/{prefix}", endpoint=self._endpoint)
        return open_store(location, self._credentials)

    def bare(self, prefix: str) -> Any:
        """obstore's own store."""
        config: Any = {
            "endpoint": self._endpoint,
            "virtual_hosted_style_request": False,
            "region": "us-east-1",
            "access_key_id": _BUCKET,
            "secret_access_key": self.secret,
        }
        return S3Store(_BUCKET, prefix=prefix, config=config, client_options={"allow_http": True})


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """A server with one bucket below a folder, until the block ends."""
    program = build_one("versitygw", Reporter())
    (folder / _BUCKET).mkdir()
    made = Gateway(free_port(), secrets.token_hex(16))
    environment = {"ROOT_ACCESS_KEY": _BUCKET, "ROOT_SECRET_KEY": made.secret}
    command: list[str | Path] = [program, "--port", f"127.0.0.1:{made.port}", "posix", folder]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(made.port, server)
            yield made
        finally:
            server.kill()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"versitygw does not listen on port {port}; its exit code is {server.poll()}")
        time.sleep(0.05)
