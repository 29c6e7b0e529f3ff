"""The operator's own metrics. Written by `loop` and `web`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
RECONCILE_SECONDS = Histogram(
    "vectorfleet_operator_reconcile_seconds",
    "Duration of one observation, plan and its actions.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
RECONCILE_ERRORS = Counter(
    "vectorfleet_operator_reconcile_errors_total", "Reconciliations that failed and are tried again.", registry=REGISTRY
)
QUEUE_OLDEST_SECONDS = Gauge(
    "vectorfleet_operator_queue_oldest_seconds",
    "How long the oldest collection waits or is worked on.",
    registry=REGISTRY,
)
LEADER = Gauge("vectorfleet_operator_leader", "1 while this operator holds the lease.", registry=REGISTRY)
