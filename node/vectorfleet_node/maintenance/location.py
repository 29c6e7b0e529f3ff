"""From what a user types as a URL to a store. Used by the commands `log` and `fsck`.

The trap is a folder that a node uses right now: opening it as a node does removes the files that the other is writing.
Who only reads opens it with `read_only`.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import Store, StoreNotFound


def locate(url: str, endpoint: str = "", region: str = "") -> StorageLocation:
    """The location that a URL or a plain path names."""
    full = url if "://" in url else Path(url).expanduser().absolute().as_uri()
    return StorageLocation(url=full, endpoint=endpoint, region=region)


def open_location(location: StorageLocation, *, read_only: bool) -> Store:
    """The store there, with credentials from the environment. Blocking.

    StoreNotFound when a folder is absent; ValueError and StorageErrors as `open_store`.
    """
    url = urlsplit(location.url)
    if url.scheme == "file":
        folder = Path(unquote(url.path))
        if not folder.is_dir():
            raise StoreNotFound(f"{folder} is not a folder")
        if read_only:
            return LocalStore(folder.resolve())
    return open_store(location, {})
