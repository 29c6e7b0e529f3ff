"""Ten times the rows, and again: queries a second, time to build, and memory a row beside what it must hold."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console

from benchmarks.search import data
from benchmarks.search.measures import comparable
from benchmarks.search.peers.base import Ask
from benchmarks.search.processes import split
from benchmarks.search.remote import stage
from benchmarks.search.report import Check, Report, medians, placed
from benchmarks.search.settings import BAND, WANTED, K, Scale

_MOST_MEMORY: Final = 1.25  # times codes and graph
_FIGURES: Final = ("qps", "p50_ms", "p99_ms", "recall", "server_cpu")
_COLUMNS: Final = {
    "rows": ",", "segments": "", "kinds": "", "effort": "", "compared": "", "qps": ",.0f", "p99_ms": ".2f",
    "recall": ".3f", "load_s": ".1f", "bytes_a_row": ",.0f", "codes_and_graph": ",.0f", "times": ".2f",
    "anonymous": ",.0f",
}  # fmt: skip
_EMPTY: Final = 16  # rows of the server whose memory is subtracted


def run(scale: Scale, console: Console) -> Report:
    """A server for each size, one after the other; an almost empty one tells what the process itself takes."""
    empty = _measured(scale, _EMPTY, console)
    rows = []
    for size in scale.sizes:
        found = _measured(scale, size, console)
        held, anonymous = ((found[name] - empty[name]) / size for name in ("resident", "anonymous"))
        files = None if found["kinds"] == "Exact" else found["artefact_bytes"] / size
        told = {"bytes_a_row": held, "codes_and_graph": files, "anonymous": anonymous}
        rows.append(found | told | {"times": held / files if files else None})
    last = rows[-1]
    met = None if last["times"] is None else last["times"] <= _MOST_MEMORY
    check = Check(
        f"memory at {last['rows']:,} rows",
        f"{last['times'] or 0:.2f} x codes and graph",
        f"at most {_MOST_MEMORY}",
        met,
    )
    about = (
        placed(split()),
        f"{scale.dimensions} dimensions, {max(scale.clients)} clients; load_s: until all is sealed and indexed",
        "bytes a row: resident after all queries, less an almost empty server",
        "codes and graph: bytes of the index files; Exact has none",
    )
    return Report("growth", _COLUMNS, rows, [check], about)


def _measured(scale: Scale, size: int, console: Console) -> dict[str, Any]:
    console.print(f"{size:,} rows are loaded", style="dim")
    with stage(data.synthetic(scale, rows=size), K) as prepared:
        worker, load = prepared.start("vectorfleet")
        worker.serve(split())
        ask, tuned = worker.tuned(Ask(k=K))
        samples = [worker.closed(ask, max(scale.clients), scale.seconds) for _ in range(scale.rounds)]
        about = worker.do("about")
        told = {
            "rows": size,
            "segments": len(about["segments"]),
            "kinds": ",".join(sorted({kind for _, kind in about["segments"]})),
            "artefact_bytes": about["artefact_bytes"],
            "effort": tuned.effort,
            "compared": comparable(tuned.recall, WANTED, BAND),
            "load_s": load,
        }
        return told | worker.do("memory") | medians(samples, _FIGURES)
