"""versitygw, an S3 server over a folder, on the bridge address. Called by `up`, and by tests that take the store away.

A bucket is a sub-folder of the data folder. The credentials are fixed: collections survive `down --keep-s3` and must
find their data with the Secret they had; nothing but this machine can reach the server.
"""

from __future__ import annotations

import re

from devcluster import layout
from devcluster.errors import DevclusterError
from devcluster.layout import Folders
from devcluster.network import accepts, check_port_is_free
from devcluster.processes import Supervisor

NAME = "versitygw"
READY_TIMEOUT = 20.0
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class S3:
    """The S3 server of a cluster."""

    access_key = "vectorfleet"
    secret_key = "vectorfleet-secret"  # noqa: S105 - of a throw-away server that only this machine reaches

    def __init__(self, supervisor: Supervisor, folders: Folders) -> None:
        self._supervisor = supervisor
        self._folders = folders

    @property
    def endpoint(self) -> str:
        """Its URL for pods."""
        return f"http://{layout.HOST}:{layout.S3_PORT}"

    @property
    def host_endpoint(self) -> str:
        """Its URL for processes of this machine."""
        return self.endpoint

    def start(self) -> None:
        """Starts it, unless it runs, and returns when it listens."""
        if self._supervisor.find(NAME):
            return
        self._folders.s3.mkdir(exist_ok=True)
        check_port_is_free(layout.S3_PORT)
        self._supervisor.spawn(
            NAME, "versitygw", "--port", f"{layout.HOST}:{layout.S3_PORT}", "posix", self._folders.s3,
            env={"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
        )  # fmt: skip
        self._supervisor.wait(NAME, lambda: accepts(layout.HOST, layout.S3_PORT), READY_TIMEOUT)

    def stop(self) -> None:
        """Kills it. The data stays."""
        self._supervisor.stop(NAME)

    def make_bucket(self, name: str) -> None:
        """Makes a bucket if there is none of that name."""
        if not BUCKET.fullmatch(name):
            raise DevclusterError(f"bucket {name!r}: 3 to 63 lower-case letters, digits, dots and hyphens")
        (self._folders.s3 / name).mkdir(exist_ok=True)
