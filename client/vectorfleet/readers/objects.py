"""An object in an S3 bucket as a file that is read, for the formats that are read in order (Parquet, JSON lines).

Used by `open_source` for `s3://bucket/key`. pyarrow brings the S3 client, so nothing more has to be installed.
Credentials are found as by AWS's own tools: the environment, then profiles, then the machine's role.
"""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pyarrow import fs

from vectorfleet.errors import SourceError

SCHEME = "s3://"
_CONNECT_SECONDS = 5
_SETTINGS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for a server that is not AWS, AWS_ENDPOINT_URL"
_REASONS = (
    ("ACCESS_DENIED", f"access was denied, or no credentials were found; they come from {_SETTINGS}, or a profile"),
    ("INVALID_ACCESS_KEY_ID", f"the credentials are not known there; they come from {_SETTINGS}, or a profile"),
    ("SIGNATURE_DOES_NOT_MATCH", f"the credentials are not known there; they come from {_SETTINGS}, or a profile"),
    ("NETWORK_CONNECTION", f"the server cannot be reached; settings are {_SETTINGS}"),
)


class ObjectFile:
    """One object; SourceError when it is not there or cannot be read. `str()` is its URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._path = f"{parts.netloc}/{parts.path.lstrip('/')}"
        self.suffix = PurePosixPath(parts.path).suffix
        if not parts.netloc or not parts.path.strip("/"):
            raise SourceError(f"{url}: expected s3://bucket/path/of/the/object")

    def __str__(self) -> str:
        return self._url

    @cached_property
    def identity(self) -> str:
        """Its URL, and what changes when it is written anew."""
        return f"{self._url} {self._info.size} {self._info.mtime_ns}"

    def native(self) -> Any:
        """The object as a pyarrow file that can be read anywhere."""
        try:
            return self._filesystem.open_input_file(self._info.path)
        except OSError as error:
            raise self._wrong(error) from error

    def open(self, mode: str = "rb") -> BinaryIO:
        """The object as a Python file, read in order."""
        return io.BufferedReader(self.native(), 1 << 20)

    @cached_property
    def _filesystem(self) -> Any:
        endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", ""))
        return fs.S3FileSystem(
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or None,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            connect_timeout=_CONNECT_SECONDS,
        )

    @cached_property
    def _info(self) -> Any:
        try:
            info = self._filesystem.get_file_info(self._path)
        except OSError as error:
            raise self._wrong(error) from error
        if info.type != fs.FileType.File:
            raise SourceError(f"{self._url}: no such object")
        return info

    def _wrong(self, error: Exception) -> SourceError:
        told = " ".join(str(error).split())
        reason = next((words for code, words in _REASONS if code in told), "it cannot be read")
        return SourceError(f"{self._url}: {reason} ({told[:300]})")
