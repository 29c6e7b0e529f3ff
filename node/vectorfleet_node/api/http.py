"""`/metrics`, `/healthz` and `/readyz`: a tiny HTTP server on the event loop, so that a loop that hangs fails it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vectorfleet_node.metrics import Metrics

_READ_SECONDS = 5.0
_MAX_LINES = 100
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
Waiting = Callable[[], list[str]]  # what keeps this node from being ready, one sentence each; empty: ready


class HttpServer:
    """Answers GET and HEAD of three paths, one request a connection."""

    def __init__(self, metrics: Metrics, waiting: Waiting) -> None:
        self._metrics = metrics
        self._waiting = waiting
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens; returns the port, which the system chooses for 0."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=16 * 1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()

    def answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        """(status, content type, body) for a request."""
        if method not in ("GET", "HEAD"):
            return 405, _PLAIN, b"only GET is answered here\n"
        match path.partition("?")[0]:
            case "/metrics":
                return 200, _PROMETHEUS, self._metrics.text()
            case "/healthz":
                return 200, _PLAIN, b"ok\n"
            case "/readyz":
                waiting = self._waiting()
                body = "".join(f"{sentence}\n" for sentence in waiting) or "ready\n"
                return (503 if waiting else 200), _PLAIN, body.encode()
        return 404, _PLAIN, b"here are /metrics, /healthz and /readyz\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                request = (await reader.readline()).decode("latin-1").split()
                for _ in range(_MAX_LINES):
                    if not (await reader.readline()).strip():
                        break
                if len(request) == 3:
                    status, kind, body = self.answer(request[0], request[1])
                    head = (
                        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
                        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    )
                    writer.write(head.encode() + (b"" if request[0] == "HEAD" else body))
                    await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # the caller went away, dawdled, or sent an endless line; there is nobody to tell
        finally:
            writer.close()
