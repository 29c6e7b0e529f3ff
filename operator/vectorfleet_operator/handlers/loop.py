"""The loop that reconciles: a few workers, each observes, plans and acts for one collection at a time.

Started by `main` while the lease is held. A collection is looked at again every few seconds whatever the watches say,
so a lost event costs seconds and not a collection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from vectorfleet_operator.adapters.act import Actor
from vectorfleet_operator.adapters.kubernetes import CONFLICT, NOT_FOUND, ApiError, Kubernetes
from vectorfleet_operator.adapters.lease import LeaseLost
from vectorfleet_operator.adapters.observe import Observer, Sight
from vectorfleet_operator.handlers import metrics
from vectorfleet_operator.handlers.queue import Key, WorkQueue
from vectorfleet_operator.model import names
from vectorfleet_operator.model.observed import Environment
from vectorfleet_operator.planner import plan

RESYNC_SECONDS = 30.0
RECONCILE_SECONDS = 60.0
REFUSED = range(400, 500)  # what the API server will refuse again
TRANSIENT = (NOT_FOUND, CONFLICT, 408, 429)
log = structlog.get_logger()


class Reconciler:
    """One pass over one collection."""

    def __init__(
        self, kubernetes: Kubernetes, observer: Observer, actor: Actor, environment: Callable[[], Environment]
    ) -> None:
        self._kubernetes = kubernetes
        self._observer = observer
        self._actor = actor
        self._environment = environment

    async def reconcile(self, key: Key) -> float | None:
        """Seconds until the next look, None when the collection is gone."""
        sight = await self._observer.observe(*key, self._environment())
        if sight is None:
            return None
        now = datetime.now(UTC)
        # A large placement takes a while, and the watches must go on meanwhile.
        made = await asyncio.to_thread(plan.plan, sight.observed, now)
        try:
            await self._actor.act(sight, made.actions)
        except ApiError as error:
            if error.code in REFUSED and error.code not in TRANSIENT:
                await self._tell(sight, str(error), now)
            raise
        return made.look_again

    async def _tell(self, sight: Sight, message: str, now: datetime) -> None:
        patch = plan.failed(sight.observed, message, now)
        if patch is not None:
            await self._actor.act(sight, (patch,))

    async def resync(self, queue: WorkQueue, namespaces: tuple[str, ...]) -> None:
        """Wakes collections that the queue does not know, for ever: those whose event was lost."""
        while True:
            try:
                await self._wake_unknown(queue, namespaces)
            except ApiError as error:
                log.warning("collections cannot be listed", error=str(error))
            await asyncio.sleep(RESYNC_SECONDS)

    async def _wake_unknown(self, queue: WorkQueue, namespaces: tuple[str, ...]) -> None:
        for namespace in namespaces or (None,):
            for found in await self._kubernetes.list(names.KIND, namespace):
                key = (str(found["metadata"]["namespace"]), str(found["metadata"]["name"]))
                if key not in queue:
                    queue.add(key)


async def work(queue: WorkQueue, reconciler: Reconciler) -> None:
    """Reconciles whatever is due, for ever. Only a lost lease ends it."""
    while True:
        key = await queue.take()
        began = time.monotonic()
        try:
            async with asyncio.timeout(RECONCILE_SECONDS):
                again = await reconciler.reconcile(key)
        except LeaseLost:
            raise
        except (ApiError, TimeoutError) as error:
            _note_failure(queue, key, str(error) or f"not done within {RECONCILE_SECONDS:g} s")
        except Exception:  # a bug that one collection brings out must not stop the others
            log.exception("reconciliation broke", namespace=key[0], collection=key[1])
            _note_failure(queue, key, "an error of the operator itself")
        else:
            queue.succeeded(key, again)
        metrics.RECONCILE_SECONDS.observe(time.monotonic() - began)


def _note_failure(queue: WorkQueue, key: Key, error: str) -> None:
    metrics.RECONCILE_ERRORS.inc()
    delay = queue.failed(key)
    log.warning("reconciliation failed", namespace=key[0], collection=key[1], error=error, again_in_seconds=delay)
