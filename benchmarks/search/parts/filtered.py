"""Filters that let 1, 10 and 50 % of the rows pass, beside no filter; all by the same server, taking turns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from rich.console import Console

from benchmarks.search import data
from benchmarks.search.peers.base import ALL, Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import stage
from benchmarks.search.report import Check, Report, medians, placed
from benchmarks.search.settings import WANTED, K, Scale

BELOWS: Final = (1, 10, 50, ALL)  # percent of the rows that pass
_LEAST_SHARE: Final = 0.5
_FIGURES: Final = ("qps", "p50_ms", "p99_ms", "recall")
_COLUMNS: Final = {
    "percent": "", "clients": "", "qps": ",.0f", "share": ".2f", "p50_ms": ".2f", "p99_ms": ".2f", "recall": ".3f",
}  # fmt: skip


def run(scale: Scale, console: Console) -> Report:
    """The effort is the one that has the wanted recall without a filter; the planner sees to the rest."""
    most = max(scale.clients)
    with stage(data.synthetic(scale), K, BELOWS) as prepared:
        console.print("vectorfleet is loaded and tuned", style="dim")
        worker, _ = prepared.start("vectorfleet")
        worker.serve(split())
        ask, tuned = worker.tuned(Ask(k=K))
        samples: dict[int, list[dict[str, Any]]] = {below: [] for below in BELOWS}
        for turn in range(scale.rounds):
            for below in BELOWS[turn % len(BELOWS) :] + BELOWS[: turn % len(BELOWS)]:
                samples[below].append(worker.closed(replace(ask, below=below), most, scale.seconds))
    rows: list[dict[str, Any]] = [
        {"percent": below, "clients": most, "samples": found} | medians(found, _FIGURES)
        for below, found in samples.items()
    ]
    bare = next(row["qps"] for row in rows if row["percent"] == ALL)
    rows = [row | {"share": row["qps"] / bare} for row in rows]
    about = (
        placed(split()),
        f"effort {tuned.effort}; the filter is on a field that has nothing to do with the vectors",
    )
    return Report("filtered", _COLUMNS, rows, checks(rows), about)


def checks(rows: list[dict[str, Any]]) -> list[Check]:
    """A filtered search that lost recall is not compared: fast and wrong is no promise kept."""
    made = []
    for row in rows:
        if row["percent"] != ALL:
            value = f"{row['share']:.2f} of unfiltered, recall {row['recall']:.3f}"
            wanted = f"at least {_LEAST_SHARE} with recall of {WANTED}"
            met = bool(row["share"] >= _LEAST_SHARE and row["recall"] >= WANTED)
            made.append(Check(f"{row['percent']} % of the rows", value, wanted, met))
    return made
