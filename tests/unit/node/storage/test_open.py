"""Which store a URL means, what obstore's errors mean, and how new credentials are taken up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage import parallel
from vectorfleet_node.storage.credentials import RenewingStore, read_folder
from vectorfleet_node.storage.local import LocalStore
from vectorfleet_node.storage.memory import MemoryStore
from vectorfleet_node.storage.object_errors import classify, says_absent
from vectorfleet_node.storage.objects import ObjectStore
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.store import (
    CredentialsMissing,
    CredentialsRefused,
    StorageError,
    Store,
    StoreFull,
    StoreNotFound,
    StoreUnavailable,
)

PAIR = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
ENDPOINT = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_credentials_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PAIR, "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_directory_is_made_and_opened(tmp_path: Path) -> None:
    assert isinstance(open_store(StorageLocation(url=f"file://{tmp_path}/a/b"), {}), LocalStore)
    assert (tmp_path / "a" / "b").is_dir()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreNotFound, match="file/data"):
        open_store(StorageLocation(url=f"file://{tmp_path}/file/data"), {})


def test_a_memory_url_names_one_store_of_this_process() -> None:
    first = open_store(StorageLocation(url="memory:///one"), {})
    assert isinstance(first, MemoryStore)
    assert open_store(StorageLocation(url="memory:///one"), {}) is first
    assert open_store(StorageLocation(url="memory:///two"), {}) is not first


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "s3://bucket"])
def test_a_bucket_is_opened_with_its_credentials(url: str) -> None:
    location = StorageLocation(url=url, endpoint=ENDPOINT)
    assert isinstance(open_store(location, PAIR | {"AWS_SESSION_TOKEN": "t"}), ObjectStore)


def test_the_other_clouds_are_opened() -> None:
    assert isinstance(open_store(StorageLocation(url="gs://bucket/p"), {}), ObjectStore)
    account = {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}
    assert isinstance(open_store(StorageLocation(url="az://container/p"), account), ObjectStore)


@pytest.mark.parametrize(
    "url", ["", "bucket/prefix", "http://x/y", "s3:///prefix", "file://host/path", "file:///", "s3"]
)
def test_any_other_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match=r"it must be s3://bucket/prefix") as refused:
        open_store(StorageLocation(url=url), {})
    assert repr(url) in str(refused.value)


def test_half_a_pair_of_credentials_names_the_other_half() -> None:
    with pytest.raises(CredentialsMissing, match="have no AWS_SECRET_ACCESS_KEY"):
        open_store(StorageLocation(url="s3://bucket/p"), {"AWS_ACCESS_KEY_ID": "key"})


def test_no_credentials_for_a_server_that_has_no_workload_identity_are_missed_at_once() -> None:
    with pytest.raises(CredentialsMissing, match=r"s3://bucket/p at http://127.0.0.1:9 needs AWS_ACCESS_KEY_ID"):
        open_store(StorageLocation(url="s3://bucket/p", endpoint=ENDPOINT), {})


async def test_a_server_that_is_not_there_is_unavailable_within_seconds() -> None:
    store = open_store(StorageLocation(url="s3://bucket/p", endpoint=ENDPOINT), PAIR)
    async with asyncio.timeout(60):
        with pytest.raises(StoreUnavailable, match="create k in s3://bucket/p"):
            await store.create("k", b"x")
        with pytest.raises(StoreUnavailable):
            await store.get("k")
        with pytest.raises(StoreUnavailable):
            await store.list("k/")


def answer(status: int, code: str = "") -> Exception:
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code></Error>' if code else ""
    return OSError(
        f"Error performing GET http://x/k in 507.1ms - Server returned non-2xx status code: {status} X: {body}"
    )


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (answer(401), CredentialsRefused),
        (answer(403, "SignatureDoesNotMatch"), CredentialsRefused),
        (answer(404, "XAdminUserNotFound"), CredentialsRefused),
        (answer(400, "ExpiredToken"), CredentialsRefused),
        (answer(404, "NoSuchBucket"), StoreNotFound),
        (answer(404, "ContainerNotFound"), StoreNotFound),
        (answer(404), StoreUnavailable),
        (answer(503, "SlowDown"), StoreUnavailable),
        (answer(507), StoreFull),
        (answer(403, "QuotaExceeded"), CredentialsRefused),
        (OSError("Error performing PUT http://169.254.169.254/latest/api/token: timed out"), CredentialsMissing),
        (OSError("HTTP error: error sending request"), StoreUnavailable),
    ],
)
def test_an_error_is_told_by_the_stores_own_code(error: Exception, meaning: type[StorageError]) -> None:
    assert type(classify("get k", error)) is meaning
    assert not says_absent(error)


@pytest.mark.parametrize("code", ["NoSuchKey", "BlobNotFound"])
def test_only_the_stores_word_for_it_means_absent(code: str) -> None:
    assert says_absent(answer(404, code))
    assert not says_absent(answer(404))


def test_a_mounted_secret_is_read_without_its_hidden_folders(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("key\n")
    assert read_folder(tmp_path) == {"AWS_ACCESS_KEY_ID": "key"}
    assert read_folder(tmp_path / "absent") == {}


class Guarded(MemoryStore):
    """Lets in who has the password."""

    def __init__(self, inside: MemoryStore, let_in: bool) -> None:
        super().__init__()
        self._inside = inside
        self._let_in = let_in

    async def create(self, key: str, body: bytes) -> bool:
        if not self._let_in:
            raise CredentialsRefused("403")
        return await self._inside.create(key, body)


async def test_mended_credentials_are_taken_up_by_the_operation_that_needs_them() -> None:
    inside, present, opened = MemoryStore(), {"password": "wrong"}, []

    def connect(_: StorageLocation, credentials: Mapping[str, str]) -> Store:
        opened.append(dict(credentials))
        return Guarded(inside, credentials["password"] == "right")

    store = RenewingStore(StorageLocation(url="memory:///"), lambda: dict(present), connect=connect)
    for _ in range(2):
        with pytest.raises(CredentialsRefused):
            await store.create("a", b"x")
    assert opened == [{"password": "wrong"}]
    present["password"] = "right"
    assert await store.create("a", b"x")
    assert await inside.get("a") == b"x"
    assert opened == [{"password": "wrong"}, {"password": "right"}]


async def test_credentials_that_appear_later_are_found() -> None:
    present: dict[str, str] = {}
    location = StorageLocation(url="s3://bucket/p", endpoint=ENDPOINT)
    store = RenewingStore(location, lambda: dict(present))
    with pytest.raises(CredentialsMissing):
        await store.get("a")
    present |= PAIR
    with pytest.raises(StoreUnavailable):
        await store.get("a")


async def test_no_more_run_at_once_than_allowed_and_the_first_error_ends_all() -> None:
    running, most, done = 0, 0, []

    async def act(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)
        if item == 50:
            raise StoreUnavailable("away")

    await parallel.for_each(range(50), act, limit=4)
    assert most == 4
    assert sorted(done) == list(range(50))
    with pytest.raises(StoreUnavailable):
        await parallel.for_each(range(50, 500), act, limit=4)
    assert len(done) < 60
