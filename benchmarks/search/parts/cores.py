"""Throughput on one core and on more, with and without front processes, of single queries and of many a request."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

from rich.console import Console

from benchmarks.search import data
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import Stage, stage
from benchmarks.search.report import Check, Report, medians, placed
from benchmarks.search.settings import K, Scale

_IN_FLIGHT: Final = 4  # requests of many queries
_MOST: Final = 8  # cores
_FIGURES: Final = ("qps", "p50_ms", "p99_ms", "recall", "server_cpu", "client_share")
_COLUMNS: Final = {
    "cores": "", "fronts": "", "batch": "", "clients": "", "qps": ",.0f", "p50_ms": ".2f", "p99_ms": ".2f",
    "recall": ".3f", "client_share": ".0%",
}  # fmt: skip


def counts() -> list[int]:
    """1, 2, 4 and so on: the cores that the server is given; all of them at most."""
    cores = min(len(os.sched_getaffinity(0)), _MOST)
    return [1 << power for power in range(cores.bit_length()) if 1 << power <= cores]


def ways() -> list[tuple[int, int]]:
    """(cores, front processes): each number of cores without any, and from two on with one for each two cores."""
    return [(cores, fronts) for cores in counts() for fronts in sorted({0, cores // 2})]


def run(scale: Scale, console: Console) -> Report:
    """The same rows under the same question; the server starts anew each time."""
    with stage(data.synthetic(scale), K) as prepared:
        rows = _measured(prepared, scale, console)
    most = max(counts())
    about = (
        *(f"{count}: {placed(split(count))}" for count in counts()),
        "where server and client share a core the client takes its part of it: client_share",
    )
    checks = []
    for batch in (1, scale.batch):
        of = {row["cores"]: row["qps"] for row in rows if row["batch"] == batch and not row["fronts"]}
        value = " -> ".join(f"{qps:,.0f}" for qps in of.values())
        checks.append(Check(f"queries a second, {batch} a request, on 1 to {most} cores", value, "", None))
    return Report("cores", _COLUMNS, rows, checks, about)


def _measured(prepared: Stage, scale: Scale, console: Console) -> list[dict[str, Any]]:
    console.print("vectorfleet is loaded and tuned", style="dim")
    worker, _ = prepared.start("vectorfleet")
    worker.serve(split())
    ask, _ = worker.tuned(Ask(k=K))
    rows = []
    for cores, fronts in ways():
        worker.serve(split(cores), fronts=fronts)
        for batch, clients in ((1, max(scale.clients)), (scale.batch, _IN_FLIGHT)):
            shape = replace(ask, batch=batch)
            samples = [worker.closed(shape, clients, scale.seconds) for _ in range(scale.rounds)]
            told = {"cores": cores, "fronts": fronts, "batch": batch, "clients": clients, "samples": samples}
            rows.append(told | medians(samples, _FIGURES))
    return rows
