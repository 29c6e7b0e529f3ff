"""versitygw, an S3 server over a folder, that a test kills and stops as it likes. Built and cached by devcluster."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from devcluster import programs
from devcluster.network import accepts
from devcluster.progress import Reporter
from devcluster.s3 import S3

_HOST = "127.0.0.1"
_READY_TIMEOUT = 20.0


class Gateway:
    """Use it as a context. Its port stays the same over restarts."""

    credentials = {"AWS_ACCESS_KEY_ID": S3.access_key, "AWS_SECRET_ACCESS_KEY": S3.secret_key}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder.with_name("versitygw.log")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind((_HOST, 0))
            self._port = probe.getsockname()[1]

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{_HOST}:{self._port}"

    def __enter__(self) -> Self:
        self._folder.mkdir()
        (program,) = programs.build_missing(Reporter(), only={"versitygw"})
        self._binary = program.built
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
        death = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*death, str(self._binary), "--port", f"{_HOST}:{self._port}", "posix", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"],
                    "ROOT_ACCESS_KEY": S3.access_key,
                    "ROOT_SECRET_KEY": S3.secret_key,
                },
            )
        deadline = time.monotonic() + _READY_TIMEOUT
        while not accepts(_HOST, self._port):
            assert self._process.poll() is None, f"versitygw ended:\n{self._log.read_text()}"
            assert time.monotonic() < deadline, f"versitygw does not listen:\n{self._log.read_text()}"

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
