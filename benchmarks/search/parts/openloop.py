"""The user's shape: wide vectors, many hits, queries that arrive at random times whether the server keeps up or not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console

from benchmarks.search import data
from benchmarks.search.lineup import line_up
from benchmarks.search.measures import passes
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import Worker, stage
from benchmarks.search.report import Check, Report, kept, medians, placed
from benchmarks.search.settings import LIMIT_MS, Scale
from benchmarks.storage.figures import RESULTS

_PEERS: Final = 2  # the best of these, beside ours
_USUAL: Final = ("pgvector", "chroma")  # while no run of `peers` has told which are the best
_FIGURES: Final = ("qps", "p50_ms", "p99_ms", "p999_ms", "recall")
_COLUMNS: Final = {
    "peer": "", "effort": "", "compared": "", "rate": ",.0f", "qps": ",.0f", "p50_ms": ".2f", "p99_ms": ".2f",
    "p999_ms": ".2f", "recall": ".3f", "refused": "",
}  # fmt: skip


def best_servers(rows: list[dict[str, Any]], count: int = _PEERS) -> tuple[str, ...]:
    """The peers that are servers with the most queries a second at the most clients, of the rows of `peers`."""
    servers = [row for row in rows if row["server"] and not row["peer"].startswith("vectorfleet")]
    first = [row for row in servers if row["dataset"] == servers[0]["dataset"]]
    ranked = sorted(first, key=lambda row: (row["clients"], row["qps"]), reverse=True)
    return tuple(dict.fromkeys(row["peer"] for row in ranked))[:count]


def chosen(scale: Scale) -> tuple[str, ...]:
    """Ours and those to compare with: what the last run of `peers` at this scale found, as far as this run may use."""
    ours = tuple(peer for peer in scale.peers if peer.startswith("vectorfleet"))
    path = kept("peers", scale, RESULTS)
    best = best_servers(json.loads(path.read_text())["rows"]) if path.is_file() else _USUAL
    return ours + tuple(peer for peer in best if peer in scale.peers)


def run(scale: Scale, console: Console) -> Report:
    """All rates for all peers, one peer after the other within each rate."""
    with stage(data.synthetic(scale, dimensions=scale.wide), scale.wide_k) as prepared:
        lineup = line_up(prepared, chosen(scale), Ask(k=scale.wide_k), console)
        rows = []
        drowned: set[str] = set()
        for rate in scale.rates:
            for ready in lineup:
                peer = ready.worker.name
                if peer not in drowned:
                    row = _turns(ready.worker, ready.ask, rate, scale)
                    rows.append({"peer": peer, "effort": ready.ask.effort, "compared": ready.compared} | row)
                    if row["refused"]:
                        drowned.add(peer)
    about = (
        placed(split()),
        f"{scale.rows:,} x {scale.wide}, k = {scale.wide_k}, recall of {lineup[0].wanted:.3f}; arrivals are Poisson",
        "latency counts from when a query was due; refused: shed by the server, or not sent with 512 unanswered;"
        " a peer that refused is not asked at higher rates",
    )
    return Report("openloop", _COLUMNS, rows, checks(rows), about)


def _turns(worker: Worker, ask: Ask, rate: int, scale: Scale) -> dict[str, Any]:
    told = {"ask": asdict(ask), "rate": rate, "seconds": 2 * scale.seconds}
    samples = [worker.do("opened", seed=scale.seed + turn, **told) for turn in range(scale.rounds)]
    refused = sum(sum(sample["failed"].values()) for sample in samples)
    return {"rate": rate, "refused": refused, "samples": samples} | medians(samples, _FIGURES)


def checks(rows: list[dict[str, Any]]) -> list[Check]:
    """The load that each peer bears; nothing was promised about it."""
    made = []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        loads = [(float(row["rate"]), float(row["p99_ms"])) for row in rows if row["peer"] == peer]
        at = passes(loads, LIMIT_MS)
        value = f"above {max(loads)[0]:,.0f}" if at is None else f"{at:,.0f}" if at else f"below {min(loads)[0]:,.0f}"
        made.append(Check(f"{peer}: queries/s at which p99 passes {LIMIT_MS:.0f} ms", value, "", None))
    return made
