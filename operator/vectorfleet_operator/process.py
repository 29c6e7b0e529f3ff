"""The operator's process: waits for the lease, then watches and reconciles for as long as it holds it.

Run by `main`. The lease decides everything: Kopf and the workers run only while it is held, and a
new round begins when it was lost. On SIGTERM the work stops first, then the lease is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
import uuid
from importlib.metadata import version

import kopf
import structlog

from vectorfleet_operator import logs
from vectorfleet_operator.adapters.act import Actor
from vectorfleet_operator.adapters.kubernetes import ApiError, Kubernetes
from vectorfleet_operator.adapters.lease import Lease, LeaseLost
from vectorfleet_operator.adapters.observe import Observer
from vectorfleet_operator.adapters.peers import Peers
from vectorfleet_operator.handlers import metrics, watch, web
from vectorfleet_operator.handlers.loop import Reconciler, work
from vectorfleet_operator.handlers.queue import WorkQueue
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Environment
from vectorfleet_operator.settings import LEASE, OperatorSettings, SettingsError, load

RETRY_SECONDS = 2.0
log = structlog.get_logger()


class Stop(Exception):
    """The process was asked to end."""


class Operator:
    """Everything that lives as long as the process."""

    def __init__(self, settings: OperatorSettings, kubernetes: Kubernetes) -> None:
        self.settings = settings
        self.kubernetes = kubernetes
        self.lease = Lease(
            kubernetes, settings.pod_namespace, LEASE, settings.pod_name, uuid.uuid4().hex[:8], time.monotonic
        )
        self.queue = WorkQueue(time.monotonic)
        self.stopping = asyncio.Event()
        self.cluster = ""

    def environment(self) -> Environment:
        return Environment(
            cluster=self.cluster,
            fence=self.lease.transitions,
            node_image=self.settings.node_image,
            operator_namespace=self.settings.pod_namespace,
            operator_version=version("vectorfleet"),
        )

    async def run(self) -> None:
        """Until `stopping` is set."""
        site = await web.serve(
            web.application(lambda: self.queue.oldest(), lambda: bool(self.cluster)), self.settings.http_port
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_stopped())
                group.create_task(self._rounds())
        except* Stop:
            log.info("stopping")
        finally:
            await self.lease.release()
            await site.cleanup()

    async def _until_stopped(self) -> None:
        await self.stopping.wait()
        raise Stop

    async def _rounds(self) -> None:
        """One round of leadership after the other."""
        await self._reach()
        while True:
            await self.lease.acquire()
            metrics.LEADER.set(1)
            try:
                await self._lead()
            except* LeaseLost as lost:
                log.warning("lease lost", error=str(lost.exceptions[0]))
            finally:
                metrics.LEADER.set(0)
                self.queue = WorkQueue(time.monotonic)

    async def _reach(self) -> None:
        """Waits for the API server and our own API in it."""
        while True:
            try:
                found = await self.kubernetes.get("Namespace", None, "kube-system")
                for namespace in self.settings.watched_namespaces or (None,):
                    await self.kubernetes.list(names.KIND, namespace)
            except ApiError as error:
                log.warning("waiting for the API server and the CRD of VectorCollection", error=str(error))
            else:
                if found is not None:
                    self.cluster = str(found["metadata"]["uid"])
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _lead(self) -> None:
        peers = Peers()
        actor = Actor(self.kubernetes, peers, self.lease.identity, self.lease.check)
        reconciler = Reconciler(self.kubernetes, Observer(self.kubernetes, peers), actor, self.environment)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lease.keep())
            group.create_task(self._watch())
            group.create_task(reconciler.resync(self.queue, self.settings.watched_namespaces))
            for _ in range(self.settings.workers):
                group.create_task(work(self.queue, reconciler))

    async def _watch(self) -> None:
        """Kopf, embedded. It takes SIGTERM and SIGINT for itself, and returns then."""
        namespaces = self.settings.watched_namespaces
        await kopf.operator(
            registry=watch.registry(self.queue.add, self.settings.kubeconfig),
            settings=watch.settings(),
            standalone=True,
            # Otherwise Kopf asks for the name of the user, and a container's user has none. Its type is not exported.
            identity=self.lease.identity,  # type: ignore[arg-type]
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        self.stopping.set()


async def _serve(settings: OperatorSettings) -> None:
    kubernetes = await Kubernetes.connect(settings.kubeconfig)
    try:
        operator = Operator(settings, kubernetes)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, operator.stopping.set)
        await operator.run()
    finally:
        await kubernetes.close()


def run() -> None:
    """Runs the operator until SIGTERM. Exits with one line on stderr when a setting cannot be used."""
    try:
        settings = load()
    except SettingsError as error:
        sys.exit(str(error))
    logs.configure(settings.log_level)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings))
