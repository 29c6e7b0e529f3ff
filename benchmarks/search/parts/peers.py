"""Everybody on the same rows at equal recall: queries a second and latency of one and of sixteen clients."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rich.console import Console

from benchmarks.search import data
from benchmarks.search.lineup import Ready, line_up
from benchmarks.search.peers import known
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import Stage, stage
from benchmarks.search.report import Check, Report, medians, placed
from benchmarks.search.settings import BAND, WANTED, K, Scale

_FIGURES: Final = ("qps", "p50_ms", "p99_ms", "server_cpu", "client_share")
_COLUMNS: Final = {
    "dataset": "", "peer": "", "effort": "", "clients": "", "qps": ",.0f", "p50_ms": ".2f", "p99_ms": ".2f",
    "recall": ".3f", "wanted": ".3f", "compared": "", "load_s": ".1f", "memory_mib": ",.0f", "client_share": ".0%",
}  # fmt: skip
_AHEAD: Final = 1.5  # times the best server


def run(scale: Scale, console: Console) -> Report:
    """One table over all data sets."""
    rows: list[dict[str, Any]] = []
    sweeps: dict[str, Any] = {}
    for name in scale.datasets:
        with stage(data.named(name, scale), K) as prepared:
            found, tried = _dataset(name, prepared, scale, console)
        rows += found
        sweeps[name] = tried
    about = (
        placed(split()),
        f"effort: the least with the wanted recall@{K}: {WANTED}, or more where a peer cannot find less",
        f"compared: recall at most {BAND} above that",
        "medians of rounds in which all take turns; memory after them; client_share: CPU of a server's client",
        "libraries run on the server's core without network or durable acknowledgement, which favours them",
    )
    return Report("peers", _COLUMNS, rows, checks(rows), about, {"sweeps": sweeps})


def _dataset(name: str, prepared: Stage, scale: Scale, console: Console) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    lineup = line_up(prepared, scale.peers, Ask(k=K), console)
    samples = _rounds(lineup, scale)
    rows = []
    for ready in lineup:
        peer, memory = ready.worker.name, ready.worker.do("memory")
        for clients in scale.clients:
            found = samples[peer, clients]
            told = {
                "dataset": name,
                "peer": peer,
                "server": known(peer).server,
                "clients": clients,
                "effort": ready.ask.effort,
                "recall": ready.tuned.recall,
                "wanted": ready.wanted,
                "compared": ready.compared,
                "load_s": ready.load_s,
                "memory_mib": memory["resident"] / 2**20,
                "ask": asdict(ready.ask),
                "samples": found,
            }
            rows.append(told | medians(found, _FIGURES))
    return rows, {ready.worker.name: ready.tuned.tried for ready in lineup}


def _rounds(lineup: list[Ready], scale: Scale) -> dict[tuple[str, int], list[dict[str, Any]]]:
    samples: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for turn in range(scale.rounds):
        first = turn % len(lineup)
        for ready in lineup[first:] + lineup[:first]:
            for clients in scale.clients:
                sample = ready.worker.closed(ready.ask, clients, scale.seconds)
                samples.setdefault((ready.worker.name, clients), []).append(sample)
    return samples


def checks(rows: list[dict[str, Any]]) -> list[Check]:
    """Ahead of the best server at the most clients, of those that may be compared."""
    made = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        most = max(row["clients"] for row in rows)
        fair = [row for row in rows if row["dataset"] == dataset and row["clients"] == most and row["compared"]]
        ours = [row["qps"] for row in fair if row["peer"].startswith("vectorfleet")]
        others = [row for row in fair if row["server"] and not row["peer"].startswith("vectorfleet")]
        name, wanted = f"{dataset}: ahead of the best server at {most} clients", f"at least {_AHEAD} x"
        if not ours or not others:
            made.append(Check(name, "nothing to compare at equal recall", wanted, None))
            continue
        best = max(others, key=lambda row: float(row["qps"]))
        ratio = max(ours) / best["qps"]
        made.append(Check(name, f"{ratio:.2f} x {best['peer']}", wanted, ratio >= _AHEAD))
    return made
