"""The start-up probe against servers that speak S3, over the wire: one ignores the condition of a put, as some do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vectorfleet.topology import StorageLocation
from vectorfleet_node.storage.open import open_store
from vectorfleet_node.storage.probe import probe
from vectorfleet_node.storage.store import Store, UnsafeStore

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


class Bucket(BaseHTTPRequestHandler):
    """Whole objects by PUT, GET and DELETE; the ETag is the same for all."""

    protocol_version = "HTTP/1.1"
    honours_conditions = True
    objects: dict[str, bytes]
    lock: threading.Lock

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            if self.honours_conditions and self.headers["If-None-Match"] == "*" and self.path in self.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            self.objects[self.path] = body
        return self._answer(200)

    def do_GET(self) -> None:
        found = self.objects.get(self.path)
        self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>") if found is None else self._answer(200, found)

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def bucket() -> Iterator[Callable[[bool], Store]]:
    servers: list[ThreadingHTTPServer] = []

    def start(honours_conditions: bool) -> Store:
        more = {"honours_conditions": honours_conditions, "objects": {}, "lock": threading.Lock()}
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Bucket,), more))
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        return open_store(StorageLocation(url="s3://bucket/words", endpoint=endpoint), CREDENTIALS)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


async def test_a_server_that_honours_conditions_is_safe(bucket: Callable[[bool], Store]) -> None:
    await probe(bucket(True))


async def test_a_server_that_ignores_if_none_match_is_refused_and_the_reason_told(
    bucket: Callable[[bool], Store],
) -> None:
    with pytest.raises(UnsafeStore, match=r"accepted \d of 4 simultaneous creates of one object"):
        await probe(bucket(False))
