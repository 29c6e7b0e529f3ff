"""The node's three ports: the public API with health and reflection, the peers' port, and HTTP. Assembled here.

`run` serves until it is told to stop, then drains: first everybody is told (readiness, health, reports), then load
balancers get time to look, then calls in flight finish, then the replicas stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from vectorfleet.v1 import peer_pb2_grpc, vectorfleet_pb2, vectorfleet_pb2_grpc
from vectorfleet_node import logs
from vectorfleet_node.api.auth import PeerSecret, RequireSecret
from vectorfleet_node.api.http import HttpServer
from vectorfleet_node.api.node import Node
from vectorfleet_node.api.observe import Observe
from vectorfleet_node.api.peer_service import PeerService
from vectorfleet_node.api.peers import SERVER_OPTIONS
from vectorfleet_node.api.service import Create, VectorFleetService
from vectorfleet_node.api.tasks import stop_task, watch_task
from vectorfleet_node.metrics import Metrics

_HEALTH_SECONDS = 0.25
_MOST_CALLS = 4096  # at a time, on each of the two ports: gRPC refuses more before it has read them
_LAST_CALLS_SECONDS = 10.0
_LAST_PEER_CALLS_SECONDS = 3.0
SERVICE = vectorfleet_pb2.DESCRIPTOR.services_by_name["VectorFleet"].full_name


class PortTaken(OSError):
    """A port cannot be listened on; the message names it."""


@dataclass(frozen=True)
class Ports:
    """Where to listen; 0 lets the system choose, None leaves the server out."""

    host: str
    api: int
    peer: int | None
    http: int | None


class NodeServer:
    """Serves one node. `secret` guards the peers' port."""

    def __init__(self, node: Node, metrics: Metrics, secret: PeerSecret, create: Create | None = None) -> None:
        self._node = node
        self._metrics = metrics
        self._secret = secret
        self._create = create
        self._health = health_aio.HealthServicer()
        self._servers: list[grpc.aio.Server] = []
        self._http = HttpServer(metrics, node.waiting)
        self._health_task: asyncio.Task[None] | None = None

    async def start(self, ports: Ports) -> Ports:
        """Listens; returns the ports in use. PortTaken when one cannot be had."""
        api = self._api_server()
        api_port = await _listen(api, ports.host, ports.api)
        self._servers.append(api)
        peer_port = None
        if ports.peer is not None:
            peer = self._peer_server()
            peer_port = await _listen(peer, ports.host, ports.peer)
            self._servers.append(peer)
        http_port = None
        if ports.http is not None:
            try:
                http_port = await self._http.start(ports.host, ports.http)
            except OSError as error:
                raise PortTaken(f"cannot listen on {ports.host}:{ports.http}: {error.strerror or error}") from None
        self._health_task = asyncio.create_task(self._tell_health())
        watch_task(self._health_task, "health")
        return Ports(ports.host, api_port, peer_port, http_port)

    async def drain(self, seconds: float) -> None:
        """Tells everybody that this node goes, and gives load balancers `seconds` to see it."""
        self._node.draining = True
        await self._set_health()
        logs.logger().info("draining", seconds=seconds)
        await asyncio.sleep(seconds)

    async def stop(self) -> None:
        """Lets calls in flight finish, within 10 s and 3 s, and stops listening: the public port first."""
        for server, seconds in zip(self._servers, (_LAST_CALLS_SECONDS, _LAST_PEER_CALLS_SECONDS), strict=False):
            await server.stop(seconds)
        await stop_task(self._health_task)
        await self._http.stop()

    def _api_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[Observe(self._metrics)], options=SERVER_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS
        )
        _add(
            vectorfleet_pb2_grpc.add_VectorFleetServicer_to_server, VectorFleetService(self._node, self._create), server
        )
        _add(health_pb2_grpc.add_HealthServicer_to_server, self._health, server)
        reflection.enable_server_reflection(
            (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME), server
        )
        return server

    def _peer_server(self) -> grpc.aio.Server:
        interceptors = [RequireSecret(self._secret), Observe(self._metrics)]
        server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS)
        _add(peer_pb2_grpc.add_PeerServicer_to_server, PeerService(self._node), server)
        return server

    async def _set_health(self) -> None:
        statuses = health_pb2.HealthCheckResponse
        status = statuses.NOT_SERVING if self._node.waiting() else statuses.SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def _tell_health(self) -> None:
        while True:
            await self._set_health()
            await asyncio.sleep(_HEALTH_SECONDS)


def _add(register: Callable[[Any, grpc.aio.Server], None], servicer: Any, server: grpc.aio.Server) -> None:
    register(servicer, server)


async def _listen(server: grpc.aio.Server, host: str, port: int) -> int:
    try:
        chosen = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise PortTaken(f"cannot listen on {host}:{port}: is another server running there?") from None
    await server.start()
    return chosen
