"""Leadership by a coordination.k8s.io Lease: one operator acts at a time.

Used by `main`. The holder renews every RETRY seconds and stops acting RENEW_DEADLINE after its last success, before
anybody else may take over DURATION after having *seen* the last change (by its own monotonic clock: wall clocks
differ). `transitions` grows with every holder and fences topologies. A holder with the name of this very pod is a
process that is dead, so its lease is taken over at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from vectorfleet_operator.adapters.kubernetes import CONFLICT, ApiError, Kubernetes

DURATION = 15.0
RENEW_DEADLINE = 10.0
RETRY = 2.0
LABELS = {"app.kubernetes.io/name": "vectorfleet"}
log = structlog.get_logger()


class LeaseLost(Exception):
    """This process must not act any more."""


class Lease:
    """The lease `name`, as the candidate `pod`/`process` sees it."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        namespace: str,
        name: str,
        pod: str,
        process: str,
        clock: Callable[[], float],
    ) -> None:
        self._kubernetes = kubernetes
        self._namespace, self._name = namespace, name
        self._pod = pod
        self.identity = f"{pod}_{process}"
        self._clock = clock
        self._renewed: float | None = None  # when the last renewal that succeeded was sent
        self._seen: tuple[Any, float] = (None, 0.0)  # what the lease said last, and since when
        self.transitions = 0

    def check(self) -> None:
        """LeaseLost when the deadline of the last renewal has passed."""
        if self._renewed is None or self._clock() - self._renewed >= RENEW_DEADLINE:
            raise LeaseLost("the lease was not renewed in time")

    async def acquire(self) -> None:
        """Returns as the holder."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(RETRY)
        log.info("lease acquired", identity=self.identity, transitions=self.transitions)

    async def keep(self) -> None:
        """Renews for as long as it can; raises LeaseLost."""
        while True:
            await asyncio.sleep(RETRY)
            if not await self._try():
                self.check()

    async def release(self) -> None:
        """Lets the next candidate take over at once. Best effort."""
        held, self._renewed = self._renewed is not None, None
        if not held:
            return
        with contextlib.suppress(ApiError):
            lease = await self._kubernetes.get("Lease", self._namespace, self._name)
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"].update(holderIdentity="", leaseDurationSeconds=1)
                await self._kubernetes.replace(lease)

    async def _try(self) -> bool:
        """One attempt to take or renew the lease; whether it succeeded."""
        sent = self._clock()
        try:
            lease = await self._kubernetes.get("Lease", self._namespace, self._name)
            if lease is None:
                written = await self._kubernetes.create(self._manifest())
            elif self._is_free(lease["spec"]):
                written = await self._kubernetes.replace(self._taken(lease))
            else:
                self._renewed = None
                return False
        except ApiError as error:
            if error.code != CONFLICT:
                log.warning("lease cannot be renewed", error=str(error))
            return False
        self._renewed = sent
        self.transitions = int(written["spec"].get("leaseTransitions") or 0)
        return True

    def _is_free(self, spec: dict[str, Any]) -> bool:
        holder = str(spec.get("holderIdentity") or "")
        if not holder or holder.rsplit("_", 1)[0] == self._pod:
            return True
        state = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if state != self._seen[0]:
            self._seen = (state, self._clock())
        return self._clock() - self._seen[1] > float(spec.get("leaseDurationSeconds") or DURATION)

    def _manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, "labels": LABELS},
            "spec": {**self._times(), "acquireTime": _micro_time(), "leaseTransitions": 1},
        }

    def _taken(self, lease: dict[str, Any]) -> dict[str, Any]:
        spec = dict(lease["spec"])
        if spec.get("holderIdentity") != self.identity:
            spec.update(acquireTime=_micro_time(), leaseTransitions=int(spec.get("leaseTransitions") or 0) + 1)
        return {**lease, "spec": {**spec, **self._times()}}

    def _times(self) -> dict[str, Any]:
        return {"holderIdentity": self.identity, "leaseDurationSeconds": int(DURATION), "renewTime": _micro_time()}


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
