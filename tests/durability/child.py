"""A program that a test starts, and that ends with the test whatever becomes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_READY_TIMEOUT = 40.0
_LOOK = 0.02


class Child:
    """It ends with SIGKILL, by `kill` or when the test's process dies. Nothing is read from standard input."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = log
        death = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*death, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(env or {})},
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """AssertionError with what it wrote when it ends before, or takes too long."""
        deadline = time.monotonic() + _READY_TIMEOUT
        while not ready():
            assert self.process.poll() is None, f"it ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"it is not ready:\n{self._log.read_text()}"
            time.sleep(_LOOK)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.process.kill()
        self.process.wait()
