"""versitygw, an S3 server over a folder, that a test kills and stops as it likes. Built and cached by devcluster."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path
from typing import Self

import pytest

from devcluster import programs
from devcluster.network import accepts
from devcluster.progress import Reporter
from devcluster.s3 import S3
from tests.durability.child import Child

HOST = "127.0.0.1"
_NAME = "versitygw"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _program() -> Path:
    """The server's file. Without it and without a compiler the test is skipped."""
    (program,) = [program for program in programs.programs() if program.name == _NAME]
    if not program.built.exists() and shutil.which("go") is None:
        pytest.skip(f"{_NAME} has not been built yet, and there is no Go to build it with")
    programs.build_missing(Reporter(), only={_NAME})
    return program.built


class Gateway:
    """Use it as a context. Its port stays the same over restarts."""

    credentials = {"AWS_ACCESS_KEY_ID": S3.access_key, "AWS_SECRET_ACCESS_KEY": S3.secret_key}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._child: Child | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        self._folder.mkdir()
        self._binary = _program()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def make_bucket(self, name: str) -> Path:
        """Its folder: an object is a file below it."""
        folder = self._folder / name
        folder.mkdir()
        return folder

    def start(self) -> None:
        """Returns when it listens."""
        command = [str(self._binary), "--port", f"{HOST}:{self._port}", "posix", str(self._folder)]
        keys = {"ROOT_ACCESS_KEY": S3.access_key, "ROOT_SECRET_KEY": S3.secret_key}
        self._child = Child(command, self._folder.with_name("versitygw.log"), keys)
        self._child.wait_until(lambda: accepts(HOST, self._port))

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def pause(self) -> None:
        """SIGSTOP: connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None, "it does not run"
        self._child.process.send_signal(number)
