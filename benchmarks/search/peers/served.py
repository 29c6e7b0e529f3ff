"""What peers with a server process have in common: start it, find its processes, end it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.search import processes
from benchmarks.search.peers.base import Peer

_PATIENCE = 60.0  # seconds until a server that was told to end has ended


class Served(Peer):
    """A peer with a server of its own, whose output goes to a file."""

    server: subprocess.Popen[bytes] | None = None
    log: Path

    def start(self, command: Sequence[str | Path], user: str | None = None) -> None:
        """Starts the server, by another user if told, then not in this folder, which that user may not enter."""
        with self.log.open("w") as log:
            folder = "/" if user else None
            self.server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)

    def check_running(self) -> None:
        """RuntimeError with what it said when it has ended by itself."""
        if self.server is None or self.server.poll() is not None:
            raise RuntimeError(f"the server has ended: {self.log.read_text()}")

    def pids(self) -> list[int]:
        """See `Peer`."""
        return processes.tree(self.server.pid) if self.server else []

    def stop(self) -> None:
        """Ends it, if it was started."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait(_PATIENCE)
            self.server = None
