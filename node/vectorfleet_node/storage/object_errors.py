"""What an error from obstore means for us; pure, for `objects`.

The trap: a 404 is not "the object is absent". A proxy without a backend and some servers' unknown access keys are 404s
too, and taking one for an empty log slot would be taken for the end of the log. Only the store's own code counts.
"""

from __future__ import annotations

import re
from typing import Final

from vectorfleet_node.storage.store import (
    CredentialsMissing,
    CredentialsRefused,
    StorageError,
    StoreFull,
    StoreNotFound,
    StoreUnavailable,
)

_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3})\b")
_ABSENT: Final = {"NoSuchKey", "BlobNotFound"}
_NO_BUCKET: Final = {"NoSuchBucket", "ContainerNotFound"}
_FULL: Final = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"}
_REFUSED: Final = {
    "AccessDenied",
    "AuthenticationFailed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound",
}
# Hosts that are asked for credentials only when nothing else gave any.
_CREDENTIAL_HOSTS: Final = ("//169.254.169.254", "//metadata.google.internal", "//169.254.170.2")
_LONGEST: Final = 400


def says_absent(error: Exception) -> bool:
    """Whether the store itself said that the object does not exist."""
    return _code(str(error)) in _ABSENT


def classify(told: str, error: Exception) -> StorageError:
    """The error of our own to raise for one of obstore's; `told` names operation, object and store."""
    text = str(error)
    code, status = _code(text), _status(text)
    message = f"{told}: {_brief(text)}"
    if any(host in text for host in _CREDENTIAL_HOSTS):
        return CredentialsMissing(message)
    if code in _NO_BUCKET:
        return StoreNotFound(f"the bucket does not exist: {message}")
    if code in _REFUSED or status in {"401", "403"}:
        return CredentialsRefused(message)
    if code in _FULL or status == "507":
        return StoreFull(message)
    return StoreUnavailable(message)


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""


def _status(text: str) -> str:
    found = _STATUS.search(text)
    return found[1] if found else ""


def _brief(text: str) -> str:
    return " ".join(text.partition("\n\nDebug source")[0].split())[:_LONGEST]
