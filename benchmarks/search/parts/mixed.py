"""Reading while rows come in: at half the load that an idle server can take, then at all of it.

What is written is about something else (another subspace), so that the right answers stay what they were and recall can
be told at any time. Server, client and writer have all cores: builds and merges compete with searches, as in a pod.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from rich.console import Console

from benchmarks.search import data
from benchmarks.search.measures import Floats, clustered
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import Cores, free_port
from benchmarks.search.remote import Worker, stage
from benchmarks.search.report import Check, Report
from benchmarks.search.settings import K, Scale
from benchmarks.search.writer import Happened, Writer

_SEALS: Final = 2
_MERGES: Final = 1
_MOST_TIMES: Final = 3.0  # p99 beside idle
_LOST_RECALL: Final = 0.005
_FULL_LOAD: Final = 0.1  # of the time of the half load, added to it: at all the load that clients can make
_COLUMNS: Final = {
    "when": "", "load": "", "qps": ",.0f", "p50_ms": ".2f", "p99_ms": ".2f", "p999_ms": ".2f", "recall": ".3f",
    "refused": "",
}  # fmt: skip


def run(scale: Scale, console: Console) -> Report:
    """Idle first, then with the writer."""
    port, found = free_port(), data.synthetic(scale)
    others = clustered(scale.seed + 1, max(scale.rows // 4, 200), scale.dimensions)
    others = apart(found, others)
    everywhere = tuple(sorted(os.sched_getaffinity(0)))
    with stage(found, K) as prepared:
        console.print("vectorfleet is loaded and tuned", style="dim")
        worker, _ = prepared.start("vectorfleet", http_port=port)
        worker.serve(Cores(everywhere, everywhere))
        ask, _ = worker.tuned(Ask(k=K))
        idle = _phases("idle", worker, ask, scale, 10 * scale.seconds, None)
        peak = idle[1]["qps"]
        address = worker.do("about")["address"]
        with Writer(address, port, others, len(found.rows), scale.write_rows, scale.pause) as writer:
            console.print(f"{scale.write_rows} rows/s are written for {scale.minutes:g} minutes", style="dim")
            busy = _phases("writing", worker, ask, scale, 60 * scale.minutes, peak)
    rows = idle + busy
    rests = f", which rests after each {scale.pause:g} s until all is flushed" if scale.pause else ""
    about = (
        f"server, client and writer share all cores; {scale.write_rows} rows/s by one writer{rests}",
        f"{scale.rows:,} x {scale.dimensions} at first; half of the idle peak: {peak / 2:,.0f} queries/s, Poisson",
        f"written: {writer.happened.rows:,} rows, the slowest batch took {writer.happened.slowest:.2f} s",
    )
    return Report("mixed", _COLUMNS, rows, checks(rows, writer.happened), about, {"writer": asdict(writer.happened)})


def apart(found: data.Dataset, others: Floats) -> Floats:
    """Those of `others` that are farther from each query than its K right answers."""
    bars = np.partition(found.queries @ found.rows.T, -K, axis=1)[:, -K]
    return others[np.all(found.queries @ others.T < bars[:, None], axis=0)]


def _phases(
    when: str, worker: Worker, ask: Ask, scale: Scale, seconds: float, peak: float | None
) -> list[dict[str, Any]]:
    """At half of the peak and at all the load that clients make; `peak` None: what these get now is the peak."""
    most, asked = max(scale.clients), asdict(ask)

    def full() -> dict[str, Any]:
        return {"load": f"{most} clients"} | worker.do("closed", ask=asked, clients=most, seconds=_FULL_LOAD * seconds)

    def half(qps: float) -> dict[str, Any]:
        told = {"rate": qps / 2, "seconds": seconds, "seed": scale.seed}
        return {"load": "half"} | worker.do("opened", ask=asked, **told)

    if peak is None:
        first = full()
        rows = [half(first["qps"]), first]
    else:
        rows = [half(peak), full()]  # in this order: by the second there is something to merge
    return [{"when": when, "refused": sum(row["failed"].values())} | row for row in rows]


def checks(rows: list[dict[str, Any]], happened: Happened) -> list[Check]:
    """What was promised, shown only when enough happened meanwhile: a run without a merge says nothing about merges."""
    idle, idle_full, half, full = rows
    enough = happened.seals >= _SEALS and happened.merges >= _MERGES
    times, lost = half["p99_ms"] / idle["p99_ms"], idle["recall"] - half["recall"]
    kept = full["qps"] / idle_full["qps"]

    def shown(met: bool) -> bool | None:
        return met if enough else None

    return [
        Check(
            "seals and merges while it wrote", f"{happened.seals} and {happened.merges}",
            f"at least {_SEALS} and {_MERGES}", enough,
        ),
        Check("refused at half load", f"{half['refused']}", "0", shown(half["refused"] == 0)),
        Check("p99 at half load", f"{times:.2f} x idle", f"at most {_MOST_TIMES:g} x", shown(times <= _MOST_TIMES)),
        Check("recall lost", f"{lost:.4f}", f"at most {_LOST_RECALL}", shown(lost <= _LOST_RECALL)),
        Check("queries a second kept at full load", f"{kept:.2f} of idle", "", None),
    ]  # fmt: skip
