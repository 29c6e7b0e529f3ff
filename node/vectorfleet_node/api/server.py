"""The node's three ports: the public API with health and reflection, the peers' port, and HTTP. Assembled here.

The public port is served by this process, or by front processes that pass the calls on to it (`front`).

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
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

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
from vectorfleet_node.front.fronts import FrontObserver, Fronts, Plan
from vectorfleet_node.front.methods import Methods
from vectorfleet_node.metrics import Metrics

_HEALTH_SECONDS = 0.25
_AWAY_SECONDS = 0.5  # of a drain, at its end: new calls are sent away
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
    """Serves one node. `secret` guards the peers' port.

    fronts: processes that serve the public port for this one; 0: this one does.
    """

    def __init__(
        self, node: Node, metrics: Metrics, secret: PeerSecret, create: Create | None = None, fronts: int = 0
    ) -> None:
        self._node = node
        self._metrics = metrics
        self._secret = secret
        self._create = create
        self._observe = Observe(metrics)
        self._health = health_aio.HealthServicer()
        self._servers: list[grpc.aio.Server | Fronts] = []
        self._fronts = self._make_fronts(fronts) if fronts else None
        self._http = HttpServer(metrics, self._waiting)
        self._health_task: asyncio.Task[None] | None = None

    async def start(self, ports: Ports) -> Ports:
        """Listens; returns the ports in use. PortTaken when one cannot be had."""
        api_port = await self._start_api(ports)
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
        """Tells everybody that this node goes, and gives load balancers `seconds` to see it.

        In the last part of them new calls are refused with UNAVAILABLE.
        """
        self._node.draining = True
        await self._set_health()
        logs.logger().info("draining", seconds=seconds)
        away = min(_AWAY_SECONDS, seconds / 4)
        await asyncio.sleep(seconds - away)
        self._observe.closing = True
        await asyncio.sleep(away)

    async def stop(self) -> None:
        """Lets calls in flight finish, within 10 s and 3 s, and stops listening: the public port first."""
        for server, seconds in zip(self._servers, (_LAST_CALLS_SECONDS, _LAST_PEER_CALLS_SECONDS), strict=False):
            await server.stop(seconds)
        await stop_task(self._health_task)
        await self._http.stop()

    async def _start_api(self, ports: Ports) -> int:
        if self._fronts is not None:
            try:
                api_port = await self._fronts.start(ports.host, ports.api)
            except OSError as error:
                raise PortTaken(f"cannot listen on {ports.host}:{ports.api}: {error.strerror or error}") from None
            self._servers.append(self._fronts)
            return api_port
        server = grpc.aio.server(
            interceptors=[self._observe], options=SERVER_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS
        )
        self._add_services(server)
        api_port = await _listen(server, ports.host, ports.api)
        self._servers.append(server)
        return api_port

    def _make_fronts(self, count: int) -> Fronts:
        methods = Methods([self._observe])
        self._add_services(methods)
        observer = FrontObserver(self._metrics.fronts.set, self._metrics.front_ends.inc)
        return Fronts(count, Plan(methods, SERVER_OPTIONS, _MOST_CALLS), observer)

    def _add_services(self, server: grpc.aio.Server | Methods) -> None:
        _add(
            vectorfleet_pb2_grpc.add_VectorFleetServicer_to_server, VectorFleetService(self._node, self._create), server
        )
        _add(health_pb2_grpc.add_HealthServicer_to_server, self._health, server)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        _add(
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server, reflection.aio.ReflectionServicer(names), server
        )

    def _peer_server(self) -> grpc.aio.Server:
        interceptors = [RequireSecret(self._secret), Observe(self._metrics)]
        server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS)
        _add(peer_pb2_grpc.add_PeerServicer_to_server, PeerService(self._node), server)
        return server

    def _waiting(self) -> list[str]:
        return self._node.waiting() + (self._fronts.waiting() if self._fronts is not None else [])

    async def _set_health(self) -> None:
        statuses = health_pb2.HealthCheckResponse
        status = statuses.NOT_SERVING if self._waiting() else statuses.SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def _tell_health(self) -> None:
        while True:
            await self._set_health()
            await asyncio.sleep(_HEALTH_SECONDS)


def _add(register: Callable[[Any, Any], None], servicer: Any, server: grpc.aio.Server | Methods) -> None:
    register(servicer, server)


async def _listen(server: grpc.aio.Server, host: str, port: int) -> int:
    try:
        chosen = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise PortTaken(f"cannot listen on {host}:{port}: is another server running there?") from None
    await server.start()
    return chosen
