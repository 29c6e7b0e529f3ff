"""What the thin client sends, seen by an HTTP server in the place of the API server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from vectorfleet_operator.adapters.kubernetes import CONFLICT, ApiError, Kubernetes


class ApiServer:
    """Remembers requests and answers what it is told to."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        kind = request.headers.get("Content-Type", "")
        self.seen.append((request.method, request.path, dict(request.query), kind, body))
        code, answer = self.answers.pop(0) if self.answers else (200, {"items": []})
        return web.json_response(answer, status=code)


@pytest.fixture
async def server() -> AsyncIterator[tuple[ApiServer, Kubernetes]]:
    made = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    settings = client.Configuration()
    settings.host = f"http://{host}:{port}"
    kubernetes = Kubernetes(client.ApiClient(configuration=settings))
    yield made, kubernetes
    await kubernetes.close()
    await runner.cleanup()


MANIFEST = {"kind": "StatefulSet", "metadata": {"name": "x", "namespace": "search"}, "spec": {"replicas": 1}}


async def test_apply_is_server_side_forced_and_under_one_field_manager(server: tuple[ApiServer, Kubernetes]) -> None:
    api, kubernetes = server
    await kubernetes.apply(MANIFEST)
    ((method, path, query, kind, body),) = api.seen
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/search/statefulsets/x")
    assert query == {"fieldManager": "vectorfleet-operator", "force": "true"}
    assert kind == "application/apply-patch+yaml"
    assert body == MANIFEST


async def test_the_status_is_applied_to_its_subresource(server: tuple[ApiServer, Kubernetes]) -> None:
    api, kubernetes = server
    await kubernetes.apply({**MANIFEST, "kind": "VectorCollection"}, subresource="status")
    assert api.seen[0][1] == "/apis/vectorfleet.io/v1alpha1/namespaces/search/vectorcollections/x/status"


async def test_what_is_not_there_is_none(server: tuple[ApiServer, Kubernetes]) -> None:
    api, kubernetes = server
    api.answers = [(404, {"message": "not found"})]
    assert await kubernetes.get("Node", None, "n1") is None
    assert api.seen[0][:2] == ("GET", "/api/v1/nodes/n1")


async def test_a_refusal_is_told_in_the_api_servers_words(server: tuple[ApiServer, Kubernetes]) -> None:
    api, kubernetes = server
    api.answers = [(403, {"message": "exceeded quota: pods"})]
    with pytest.raises(ApiError, match=r"^exceeded quota: pods$") as refused:
        await kubernetes.apply(MANIFEST)
    assert refused.value.code == 403


async def test_an_api_server_that_is_away_is_an_error_without_a_code() -> None:
    settings = client.Configuration()
    settings.host = "http://127.0.0.1:1"
    kubernetes = Kubernetes(client.ApiClient(configuration=settings))
    with pytest.raises(ApiError, match="no answer") as away:
        await kubernetes.list("Pod", "search", "a=b")
    assert away.value.code == 0
    await kubernetes.close()


@pytest.mark.parametrize("code", [404, CONFLICT])
async def test_a_pod_that_is_gone_or_another_one_needs_no_deletion(
    server: tuple[ApiServer, Kubernetes], code: int
) -> None:
    api, kubernetes = server
    api.answers = [(code, {"message": "no"})]
    await kubernetes.delete("Pod", "search", "x-0", "uid-1")
    assert api.seen[0][4] == {"preconditions": {"uid": "uid-1"}}


async def test_lists_carry_their_selector(server: tuple[ApiServer, Kubernetes]) -> None:
    api, kubernetes = server
    assert await kubernetes.list("Pod", "search", "a=b") == []
    assert api.seen[0][2] == {"labelSelector": "a=b"}
