"""The store in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure; through obstore.

Opened by `open`. Two traps. obstore reports 409 (undecided) and 412 (exists) alike, so `create` answering False decides
nothing. And a create must never be retried below us: an error of the second try would hide that the first may land.
"""

from __future__ import annotations

import asyncio
import atexit
import time  # noqa: TID251 - for the end of the process only
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotModifiedError,
    PreconditionError,
)

from vectorfleet_node.storage import files
from vectorfleet_node.storage.disk import RealDisk
from vectorfleet_node.storage.object_errors import classify, says_absent
from vectorfleet_node.storage.store import DataLoss, StorageError

Result = TypeVar("Result")
_PART_BYTES: Final = 8 << 20
_LIST_CHUNK: Final = 1000
_CONNECT: Final = timedelta(seconds=2)
_SILENCE: Final = timedelta(seconds=5)  # without a byte; a transfer may take longer than that
_CREATE: Final = timedelta(seconds=10)  # whole request


@cache
def _let_threads_end() -> None:
    # obstore's threads let go of Python objects a moment after they answered. One that does so while the interpreter
    # is being torn down aborts the process, whose exit code is then lost: a short sleep at its end lets them finish.
    atexit.register(time.sleep, 0.2)


@dataclass(frozen=True)
class HttpPolicy:
    """How long one kind of request may take and how often it is tried: obstore's `client_options`, `retry_config`."""

    client: dict[str, Any]
    retry: dict[str, Any]

    @staticmethod
    def deciding(allow_http: bool) -> HttpPolicy:
        """For creates: tried once."""
        options = {"connect_timeout": _CONNECT, "timeout": _CREATE, "allow_http": allow_http}
        return HttpPolicy(options, {"max_retries": 0, "retry_timeout": _CREATE})

    @staticmethod
    def patient(allow_http: bool) -> HttpPolicy:
        """For everything else: a few tries, seconds in all when nobody answers."""
        options = {"connect_timeout": _CONNECT, "read_timeout": _SILENCE, "allow_http": allow_http}
        # `timeout` would bound a whole transfer; obstore's default of 30 s would end large ones.
        options["timeout"] = timedelta(minutes=15)
        backoff = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2}
        return HttpPolicy(options, {"max_retries": 2, "retry_timeout": 2 * _SILENCE, "backoff": backoff})


class ObjectStore:
    """Objects below a prefix of a bucket."""

    def __init__(self, name: str, connect: Callable[[HttpPolicy], Any], *, allow_http: bool) -> None:
        """name: the URL, for messages. connect: makes an obstore store, rooted at the prefix, with a policy."""
        _let_threads_end()
        self._name = name
        self._deciding = connect(HttpPolicy.deciding(allow_http))
        self._patient = connect(HttpPolicy.patient(allow_http))

    async def create(self, key: str, body: bytes) -> bool:
        """See `Store.create`."""
        try:
            await obstore.put_async(self._deciding, key, body, mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError, NotModifiedError):
            return False
        except (BaseError, OSError) as error:
            raise self._classified("create", key, error) from error
        return True

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""

        async def read() -> bytes:
            found = await obstore.get_async(self._patient, key)
            return bytes(await found.bytes_async())

        return await self._unless_absent("get", key, read(), None)

    async def list(self, prefix: str, *, after: str = "") -> list[str]:
        """See `Store.list`."""

        async def read() -> list[str]:
            keys: list[str] = []
            # obstore's prefixes are whole path segments; ours are any beginning of a key.
            folder = prefix.rpartition("/")[0]
            stream = obstore.list(self._patient, folder or None, offset=after or None, chunk_size=_LIST_CHUNK)
            async for chunk in stream:
                keys += [entry["path"] for entry in chunk]
            return sorted(key for key in keys if key.startswith(prefix) and key > after)

        return await self._unless_absent("list", prefix, read(), [])

    async def put(self, key: str, body: bytes) -> None:
        """See `Store.put`."""
        await self._written("put", key, obstore.put_async(self._patient, key, body))

    async def delete(self, key: str) -> None:
        """See `Store.delete`."""
        await self._unless_absent("delete", key, obstore.delete_async(self._patient, key), None)

    async def upload(self, key: str, path: Path) -> None:
        """See `Store.upload`."""
        put = obstore.put_async(self._patient, key, path, chunk_size=_PART_BYTES, max_concurrency=4)
        await self._written("upload", key, put)

    async def download(self, key: str, path: Path) -> None:
        """See `Store.download`."""
        temporary = files.temporary_beside(RealDisk(), path)

        async def fetch() -> bool:
            found = await obstore.get_async(self._patient, key)
            with temporary.open("xb") as file:
                async for chunk in found.stream(min_chunk_size=_PART_BYTES):
                    await asyncio.to_thread(file.write, chunk)
            temporary.replace(path)
            return True

        try:
            with files.full_is_told(path):
                present = await self._unless_absent("download", key, fetch(), False)
        finally:
            temporary.unlink(missing_ok=True)
        if not present:
            raise DataLoss(f"{key} is missing from {self._name}")

    async def room(self) -> int | None:
        """See `Store.room`. A bucket's quota cannot be asked for."""
        return None

    async def _unless_absent(self, operation: str, key: str, action: Awaitable[Any], absent: Result) -> Result:
        try:
            result: Result = await action
        except (BaseError, OSError) as error:
            if says_absent(error):
                return absent
            raise self._classified(operation, key, error) from error
        return result

    async def _written(self, operation: str, key: str, action: Awaitable[Any]) -> None:
        try:
            await action
        except (BaseError, OSError) as error:
            raise self._classified(operation, key, error) from error

    def _classified(self, operation: str, key: str, error: Exception) -> StorageError:
        return classify(f"{operation} {key or '/'} in {self._name}", error)
