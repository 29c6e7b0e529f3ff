"""The store port: the few operations the protocol needs of an object store, and its errors.

Backends stand beside this module (local folder, obstore, memory, and a faulty wrapper for tests); everything above
takes a `Store` as an argument. Errors:

    StorageError
    ├── StoreUnavailable      no answer, time-out or 5xx: nothing is known about a create
    ├── CredentialsMissing    the store wants credentials and there are none
    ├── CredentialsRefused    401 or 403
    ├── StoreNotFound         no such bucket or folder
    ├── StoreFull             ENOSPC or a quota: writes are refused, reads go on
    ├── UnsafeStore           create-if-absent is not honoured
    └── DataLoss              something that must be there is missing, or its checksum is wrong
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class StorageError(Exception):
    """The object store could not do what was asked. retry_after: seconds until asking again makes sense, if known."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(StorageError):
    """No answer that decides anything: the operation may or may not have happened."""


class CredentialsMissing(StorageError):
    """The store wants credentials and none were given."""


class CredentialsRefused(StorageError):
    """The store refused the credentials."""


class StoreNotFound(StorageError):
    """The bucket or container does not exist."""


class StoreFull(StorageError):
    """There is no room to write."""


class UnsafeStore(StorageError):
    """The store does not honour create-if-absent; the protocol is not safe on it."""


class DataLoss(StorageError):
    """An object that must exist is missing or damaged."""


class Store(Protocol):
    """A flat name space of objects below one URL. Get and create are linearizable per key; list may lag.

    Keys are relative to the URL, without a leading slash. Every method may raise a StorageError.
    """

    async def create(self, key: str, body: bytes) -> bool:
        """Writes `key` if it is absent, durably. False decides nothing (exists, or 409 conflict): get it to know."""

    async def get(self, key: str) -> bytes | None:
        """The whole object, or None when it is absent."""

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """Keys that start with `prefix` and sort after the key `after`, ascending."""

    async def put(self, key: str, body: bytes) -> None:
        """Writes `key` whether it exists or not. Only outside the protocol (uniquely named objects, the probe)."""

    async def delete(self, key: str) -> None:
        """Removes `key`; no error when it is absent."""

    async def upload(self, key: str, path: Path) -> None:
        """Writes the uniquely named `key` from a file, in parts when it is large."""

    async def download(self, key: str, path: Path) -> None:
        """Writes the object to a file, atomically (temporary name, then rename). DataLoss when it is absent."""

    async def room(self) -> int | None:
        """Bytes that may still be written, or None when nobody can tell. A leader keeps a reserve of it."""
