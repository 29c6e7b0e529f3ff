"""Picks the backend for a collection's storage location. Called when a node opens a collection or purges one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.store import AzureStore, GCSStore, S3Store

from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.objects import HttpPolicy, ObjectStore
from vectorfleet_node.storage.store import CredentialsMissing, Store

_S3_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_S3_WORKLOAD_IDENTITY = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_AZURE = {
    "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
    "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
    "AZURE_STORAGE_SAS_TOKEN": "sas_token",
    "AZURE_CLIENT_ID": "client_id",
    "AZURE_CLIENT_SECRET": "client_secret",
    "AZURE_TENANT_ID": "tenant_id",
}
_memory: dict[str, MemoryStore] = {}


def open_store(location: StorageLocation, credentials: Mapping[str, str]) -> Store:
    """The store at a location, with the values of the user's Secret; without them workload identity is tried.

    Blocking for a local directory (it is recovered), else no I/O: call it in a thread. ValueError for a URL that is not
    s3, gs, az, file or memory; CredentialsMissing when it is plain that there are none; for a directory as
    `LocalStore.open`.
    """
    url = urlsplit(location.url)
    path = unquote(url.path).strip("/")
    match url.scheme:
        case "memory":
            return _memory.setdefault(f"{url.netloc}/{path}", MemoryStore())
        case "file" if not url.netloc and path:
            return LocalStore.open(Path("/") / path)
        case "s3" | "gs" | "az" if url.netloc:
            backend = _BUCKETS[url.scheme](location, credentials)

            def connect(policy: HttpPolicy) -> Any:
                bucket, prefix = url.netloc, path or None
                return backend(bucket, prefix=prefix, client_options=policy.client, retry_config=policy.retry)

            return ObjectStore(location.url, connect, allow_http=location.endpoint.startswith("http://"))
    raise ValueError(
        f"storage.url is {location.url!r}; it must be s3://bucket/prefix, gs://bucket/prefix, az://container/prefix "
        f"or file:///absolute/path"
    )


def _s3(location: StorageLocation, credentials: Mapping[str, str]) -> Callable[..., Any]:
    config: Any = {}
    if location.endpoint:
        config = {"endpoint": location.endpoint, "virtual_hosted_style_request": False}
    if location.region or location.endpoint:
        config["region"] = location.region or "us-east-1"
    known = credentials if any(name in credentials for name in _S3_PAIR) else os.environ
    missing = [name for name in _S3_PAIR if not known.get(name)]
    if known is credentials:
        if missing:
            raise CredentialsMissing(f"the credentials for {location.url} have no {' and no '.join(missing)}")
        config["access_key_id"], config["secret_access_key"] = (known[name] for name in _S3_PAIR)
        if token := known.get("AWS_SESSION_TOKEN"):
            config["session_token"] = token
    elif missing and location.endpoint and not any(os.environ.get(name) for name in _S3_WORKLOAD_IDENTITY):
        # Only AWS itself has an instance metadata service to ask.
        raise CredentialsMissing(f"{location.url} at {location.endpoint} needs {' and '.join(_S3_PAIR)}")
    return partial(S3Store, config=config)


def _gcs(location: StorageLocation, credentials: Mapping[str, str]) -> Callable[..., Any]:
    config: Any = {"base_url": location.endpoint} if location.endpoint else {}
    if key := credentials.get("GOOGLE_SERVICE_ACCOUNT") or credentials.get("GOOGLE_SERVICE_ACCOUNT_KEY"):
        config["service_account_key"] = key
    return partial(GCSStore, config=config)


def _azure(location: StorageLocation, credentials: Mapping[str, str]) -> Callable[..., Any]:
    config: Any = {option: credentials[name] for name, option in _AZURE.items() if credentials.get(name)}
    if location.endpoint:
        config["endpoint"] = location.endpoint
    return partial(AzureStore, config=config)


_BUCKETS = {"s3": _s3, "gs": _gcs, "az": _azure}
