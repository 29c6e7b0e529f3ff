"""The fleet's secret: calls between nodes, and from the operator, carry it; without it the answer is UNAUTHENTICATED.

The file has one valid secret a line, so that a rotation can add the new one everywhere before it drops the old one; the
first is the one we send. Kubelet replaces the file under us, so it is looked at again at most once a second.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc

_SCHEME = "Bearer "
_LOOK_AGAIN_SECONDS = 1.0
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class PeerSecret:
    """The secrets in a file, as fresh as a second ago."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = float("-inf")
        self._secrets: tuple[str, ...] = ()

    def _current(self) -> tuple[str, ...]:
        now = time.monotonic()
        if now - self._read_at >= _LOOK_AGAIN_SECONDS:
            self._read_at = now
            try:
                lines = self._path.read_text().splitlines()
            except OSError:
                lines = []
            self._secrets = tuple(line.strip() for line in lines if line.strip())
        return self._secrets

    def header(self) -> str:
        """The value of `authorization` for calls that we make; empty when there is no secret."""
        secrets = self._current()
        return _SCHEME + secrets[0] if secrets else ""

    def accepts(self, header: str) -> bool:
        """Whether a caller's `authorization` carries a valid secret, in time that tells nothing about it."""
        given = header.removeprefix(_SCHEME).encode() if header.startswith(_SCHEME) else b""
        matches = [hmac.compare_digest(given, secret.encode()) for secret in self._current()]
        return any(matches)


class RequireSecret(grpc.aio.ServerInterceptor):
    """Refuses every call whose metadata does not carry the fleet's secret."""

    def __init__(self, secret: PeerSecret) -> None:
        self._secret = secret

        async def refuse(_request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "this call needs the fleet's secret: authorization: Bearer <secret>"
            )

        self._refusal: Handler = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The real handler for a caller who knows a secret, the refusal for others."""
        metadata = dict(handler_call_details.invocation_metadata or ())
        if self._secret.accepts(str(metadata.get("authorization", ""))):
            return await continuation(handler_call_details)
        return self._refusal
