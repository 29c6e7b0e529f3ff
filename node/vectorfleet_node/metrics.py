"""The node's metrics, under the names that dashboards and alerts use. A key or a request id is never a label.

One `Metrics` per node, with a registry of its own, so that several nodes can live in one process (tests). Layers below
`api` never see it: they get plain callables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vectorfleet_node.query.filters.documents import PARSED
from vectorfleet_node.query.filters.masks import MASKS
from vectorfleet_node.shard.budget import CacheBudget
from vectorfleet_node.shard.port import ReplicaReport

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ShardReports = Callable[[], Iterable[tuple[str, ReplicaReport]]]


class _ShardCollector(Collector):
    """Gauges of every replica on this node, read when they are asked for."""

    def __init__(self, reports: ShardReports) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        labels = ["collection", "shard"]
        rows = GaugeMetricFamily("vectorfleet_node_shard_rows", "Live rows of the shard", labels=labels)
        growing = GaugeMetricFamily(
            "vectorfleet_node_shard_growing_rows", "Rows that are in no sealed segment yet", labels=labels
        )
        position = GaugeMetricFamily("vectorfleet_node_shard_position", "Log position of the replica", labels=labels)
        ready = GaugeMetricFamily("vectorfleet_node_shard_ready", "1 when the replica answers", labels=labels)
        aside = GaugeMetricFamily(
            "vectorfleet_node_quarantined_files", "Damaged files set aside in the cache, kept for a look", labels=labels
        )
        memory = GaugeMetricFamily(
            "vectorfleet_node_growing_bytes",
            "Memory of rows in no sealed segment yet, and at a leader of writes on their way there",
            labels=labels,
        )
        waiting = GaugeMetricFamily(
            "vectorfleet_node_writes_waiting", "Writes that wait until there is room for them", labels=labels
        )
        for collection, report in self._reports():
            key = [collection, str(report.shard)]
            rows.add_metric(key, report.rows)
            growing.add_metric(key, report.growing_rows)
            position.add_metric(key, report.position)
            ready.add_metric(key, float(report.ready))
            aside.add_metric(key, report.quarantined)
            memory.add_metric(key, report.growing_bytes)
            waiting.add_metric(key, report.writes_waiting)
        yield from (rows, growing, position, ready, aside, memory, waiting)


class _CacheCollector(Collector):
    """Gauges of the node's cache, read when they are asked for."""

    def __init__(self, budget: CacheBudget) -> None:
        self._budget = budget

    def collect(self) -> Iterator[Metric]:
        used, limit = self._budget.used, self._budget.limit
        yield GaugeMetricFamily("vectorfleet_node_cache_bytes", "Segment files in the cache", value=used)
        yield GaugeMetricFamily(
            "vectorfleet_node_cache_budget_bytes",
            "What they may take; +Inf without a budget",
            value=float("inf") if limit is None else limit,
        )


class _FilterCollector(Collector):
    """What filters keep about sealed segments; of the process, which all nodes in it share."""

    def collect(self) -> Iterator[Metric]:
        uses = CounterMetricFamily(
            "vectorfleet_node_filter_kept_uses",
            "Looks for a filter's mask, or a document path's values, of rows that do not change",
            labels=["what", "outcome"],
        )
        held = GaugeMetricFamily("vectorfleet_node_filter_kept_bytes", "Memory of those kept", labels=["what"])
        for what, kept in (("mask", MASKS), ("path", PARSED)):
            uses.add_metric([what, "hit"], kept.hits)
            uses.add_metric([what, "miss"], kept.misses)
            held.add_metric([what], kept.bytes)
        yield from (uses, held)


class Metrics:
    """Collectors of one node. `reports` gives (collection, report) of every replica on it."""

    def __init__(
        self, reports: ShardReports, budget: CacheBudget, searches_waiting: Callable[[], int] = lambda: 0
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_ShardCollector(reports))
        self.registry.register(_CacheCollector(budget))
        self.registry.register(_FilterCollector())
        self.scrubbed_bytes = Counter(
            "vectorfleet_node_scrubbed_bytes_total", "Bytes of open segments read again", registry=self.registry
        )
        self.rotten_blocks = Counter(
            "vectorfleet_node_rotten_blocks_total",
            "Damaged blocks or files found in the cache, by a read, the scrub or before use",
            registry=self.registry,
        )
        self.writes_refused = Counter(
            "vectorfleet_node_writes_refused_total",
            "Writes refused before anything was sent: memory, queue, store, volume or node was full or away",
            ["reason"],
            registry=self.registry,
        )
        self.requests = Counter(
            "vectorfleet_node_requests_total", "Calls answered", ["method", "code"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "vectorfleet_node_request_seconds",
            "Duration of calls",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.log_append_seconds = Histogram(
            "vectorfleet_node_log_append_seconds",
            "From sending a record to the store until it is known to be in the log",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.store_requests = Counter(
            "vectorfleet_node_store_requests_total",
            "Requests to the object store",
            ["operation", "outcome"],
            registry=self.registry,
        )
        self.fronts = Gauge(
            "vectorfleet_node_fronts", "Front processes that listen on the public port", registry=self.registry
        )
        self.front_ends = Counter(
            "vectorfleet_node_front_ends_total", "Front processes that ended unasked", registry=self.registry
        )
        self._define_searches(searches_waiting)
        self._define_upkeep()

    def _define_searches(self, waiting: Callable[[], int]) -> None:
        """The queue in front of the engine's threads."""
        Gauge(
            "vectorfleet_node_searches_waiting", "Searches that wait for an engine thread", registry=self.registry
        ).set_function(waiting)
        self.searches_shed = Counter(
            "vectorfleet_node_searches_shed_total",
            "Searches refused before the engine saw them: full (the queue), late (they would have been) or expired",
            ["reason"],
            registry=self.registry,
        )
        self.search_batch_queries = Histogram(
            "vectorfleet_node_search_batch_queries",
            "Queries that one engine call answers",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.search_wait_seconds = Histogram(
            "vectorfleet_node_search_wait_seconds",
            "Time that a search waits for an engine thread",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _define_upkeep(self) -> None:
        """What shards do beside answering: flushes, merges, collection, indexes."""
        self.compactions = Counter("vectorfleet_node_compactions_total", "Finished merges", registry=self.registry)
        self.flush_bytes = Counter(
            "vectorfleet_node_flush_bytes_total", "Segment files written by flushes", registry=self.registry
        )
        self.compaction_bytes = Counter(
            "vectorfleet_node_compaction_bytes_total",
            "Segment files written by merges; this and what was flushed, over what was flushed: write amplification",
            registry=self.registry,
        )
        self.collected_objects = Counter(
            "vectorfleet_node_collected_objects_total",
            "Objects that garbage collection deleted: log, manifest, segment or boundary",
            ["kind"],
            registry=self.registry,
        )
        self.reindex_bytes = Counter(
            "vectorfleet_node_reindex_bytes_total",
            "Index files written for segments whose index was of another kind than wanted",
            registry=self.registry,
        )
        self._define_builds()

    def _define_builds(self) -> None:
        """Indexes, and the processes that build the large ones."""
        self.index_builds = Counter(
            "vectorfleet_node_index_builds_total", "Indexes made by this node", registry=self.registry
        )
        self.index_builds_running = Gauge(
            "vectorfleet_node_index_builds_running", "Processes that build an index", registry=self.registry
        )
        self.index_build_outcomes = Counter(
            "vectorfleet_node_index_build_outcomes_total",
            "Builds in a process of their own that ended: built, resumed, reused, cancelled or failed",
            ["outcome"],
            registry=self.registry,
        )
        self.index_build_seconds = Histogram(
            "vectorfleet_node_index_build_seconds",
            "Duration of builds in a process of their own",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
            registry=self.registry,
        )
        self.index_loads = Counter(
            "vectorfleet_node_index_loads_total", "Indexes loaded from artefacts", registry=self.registry
        )

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
