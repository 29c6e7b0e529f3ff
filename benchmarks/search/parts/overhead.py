"""What the server adds to the engine: CPU a query, and throughput of requests with many queries.

The engine beside it has the same segments and kinds of index, on the same core, on one thread. One index over all rows
is told too: that the server's rows lie in several segments is a price as well, but not the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from rich.console import Console

from benchmarks.search import data
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import Worker, stage
from benchmarks.search.report import Check, Report, medians, placed
from benchmarks.search.settings import K, Scale

_MOST_US: Final = 150.0
_LEAST_RATIO: Final = 0.8
_IN_FLIGHT: Final = 4  # requests of many queries
_FIGURES: Final = ("qps", "p50_ms", "p99_ms", "recall", "server_cpu", "client_share")
_COLUMNS: Final = {
    "who": "", "clients": "", "batch": "", "qps": ",.0f", "cpu_us": ",.0f", "p50_ms": ".2f", "p99_ms": ".2f",
    "recall": ".3f", "client_share": ".0%",
}  # fmt: skip


def run(scale: Scale, console: Console) -> Report:
    """Server and engine take turns."""
    with stage(data.synthetic(scale), K) as prepared:
        console.print("vectorfleet is loaded and tuned", style="dim")
        server, _ = prepared.start("vectorfleet")
        server.serve(split())
        ask, tuned = server.tuned(Ask(k=K))
        segments = server.do("about")["segments"]
        kinds = sorted({kind for _, kind in segments})
        console.print(f"its {len(segments)} segments ({', '.join(kinds)}) are built for the engine alone", style="dim")
        engine, _ = prepared.start("engine:segments", segments=segments)
        single, _ = prepared.start("engine:one", segments=[(scale.rows, segments[0][1])])
        for worker in (engine, single):
            worker.serve(split())
        rows = _rows(scale, ask, server, engine, single)
    about = (
        placed(split()),
        f"{len(segments)} segments ({', '.join(kinds)}), effort {tuned.effort}; the engine on one thread",
        "cpu_us: of the server's process, user and kernel, over the queries it answered; of the engine's worker",
    )
    return Report("overhead", _COLUMNS, rows, checks(rows, scale), about, {"segments": segments})


def _rows(scale: Scale, ask: Ask, server: Worker, engine: Worker, single: Worker) -> list[dict[str, Any]]:
    most, many = max(scale.clients), replace(ask, batch=scale.batch)
    turns: dict[tuple[str, int, int], Callable[[], dict[str, Any]]] = {
        ("server", most, 1): lambda: server.closed(ask, most, scale.seconds),
        ("engine", 1, 1): lambda: engine.closed(ask, 1, scale.seconds),
        ("engine, one index", 1, 1): lambda: single.closed(ask, 1, scale.seconds),
        ("server", _IN_FLIGHT, scale.batch): lambda: server.closed(many, _IN_FLIGHT, scale.seconds),
        ("engine", 1, scale.batch): lambda: engine.closed(many, 1, scale.seconds),
    }
    samples: dict[tuple[str, int, int], list[dict[str, Any]]] = {key: [] for key in turns}
    for _ in range(scale.rounds):
        for key, turn in turns.items():
            samples[key].append(turn())
    rows = []
    for (who, clients, batch), found in samples.items():
        figures = medians(found, _FIGURES)
        told = {"who": who, "clients": clients, "batch": batch, "cpu_us": figures["server_cpu"] * 1e6}
        rows.append(told | figures | {"samples": found})
    return rows


def checks(rows: list[dict[str, Any]], scale: Scale) -> list[Check]:
    """What the server adds, against what it may."""
    of = {(row["who"], row["batch"]): row for row in rows}
    served, bare = of["server", 1]["cpu_us"], of["engine", 1]["cpu_us"]
    added = served - bare
    ratio = of["server", scale.batch]["qps"] / of["engine", scale.batch]["qps"]
    return [
        Check(
            f"CPU that the server adds to a query at {max(scale.clients)} clients",
            f"{added:,.0f} us ({served:,.0f} - {bare:,.0f}, {served / bare:.2f} x the engine)",
            f"at most {_MOST_US:.0f} us",
            added <= _MOST_US,
        ),
        Check(
            f"requests of {scale.batch} queries", f"{ratio:.2f} x the engine", f"at least {_LEAST_RATIO}",
            ratio >= _LEAST_RATIO,
        ),
    ]  # fmt: skip
