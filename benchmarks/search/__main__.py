"""Compares search with other engines: `python -m benchmarks.search peers`. Needs an idle machine.

Each peer gets the smallest effort of the same sweep that reaches the wanted recall; then all take turns, in rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.search.measures import Floats, Ids, clustered, least_effort, nearest, recall
from benchmarks.search.peers import PEERS
from benchmarks.storage.figures import RESULTS, machine

ROOT: Final = Path(__file__).resolve().parents[2]
BENCH_PYTHON: Final = ROOT / ".venv-bench" / "bin" / "python"
WANTED: Final = 0.95
EFFORTS: Final = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
CLIENTS: Final = (1, 16)
K: Final = 10


class Worker:
    """A peer's process."""

    def __init__(self, name: str, folder: Path) -> None:
        python = BENCH_PYTHON if name == "qdrant-edge" else Path(sys.executable)
        if not python.exists():
            sys.exit(
                f"{name}: there is no {python.relative_to(ROOT)}; run `make bench-search`, which installs the peers"
            )
        self.name = name
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.search.worker", name, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def do(self, what: str, **told: int) -> dict[str, Any]:
        """Sends a command; its answer. Exits when the peer failed: it is never left out in silence."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a worker is started with pipes")
        self._process.stdin.write(json.dumps({"do": what, **told}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} failed at {what}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Ends the process by the end of its input."""
        self._process.communicate()


def tuned(worker: Worker, truth: Ids) -> int:
    """The smallest effort of the sweep with the wanted recall."""
    tried = []
    for effort in EFFORTS:
        tried.append((effort, recall(worker.do("ask", k=K, effort=effort, clients=1)["found"], truth)))
        if tried[-1][1] >= WANTED:
            break
    found = least_effort(tried, WANTED)
    if found is None:
        sys.exit(f"{worker.name} reaches no recall of {WANTED}: {tried}")
    return found


def measured(
    workers: list[Worker], efforts: dict[str, int], truth: Ids, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """For each peer a sample per round and number of clients; the peers take turns."""
    samples: dict[str, list[dict[str, Any]]] = {worker.name: [] for worker in workers}
    for turn in range(rounds):
        for worker in workers[turn % len(workers) :] + workers[: turn % len(workers)]:
            for clients in CLIENTS:
                answer = worker.do("ask", k=K, effort=efforts[worker.name], clients=clients)
                p50, p99 = np.quantile(answer["seconds"], [0.5, 0.99]) * 1e3
                samples[worker.name].append(
                    {
                        "clients": clients,
                        "qps": len(truth) / answer["wall"],
                        "p50_ms": float(p50),
                        "p99_ms": float(p99),
                        "recall": recall(answer["found"], truth),
                    }
                )
    return samples


def summary(samples: list[dict[str, Any]], clients: int) -> dict[str, float]:
    """Medians over the rounds with that many clients."""
    mine = [sample for sample in samples if sample["clients"] == clients]
    return {name: statistics.median(sample[name] for sample in mine) for name in ("qps", "p50_ms", "p99_ms", "recall")}


def run(names: list[str], rows: Floats, queries: Floats, rounds: int) -> dict[str, Any]:
    """Loads every peer, tunes it, measures; what is kept as JSON."""
    truth = nearest(rows, queries, K)
    with TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        np.save(Path(scratch, "rows.npy"), rows)
        np.save(Path(scratch, "queries.npy"), queries)
        workers = [Worker(name, Path(scratch)) for name in names]
        for worker in workers:
            stack.callback(worker.close)
        loads = {worker.name: worker.do("load")["seconds"] for worker in workers}
        efforts = {worker.name: tuned(worker, truth) for worker in workers}
        samples = measured(workers, efforts, truth, rounds)
        memory = {worker.name: worker.do("memory")["bytes"] for worker in workers}
    return {
        name: {
            "effort": efforts[name],
            "load_s": loads[name],
            "rss_mib": memory[name] / 2**20,
            "clients": {str(clients): summary(samples[name], clients) for clients in CLIENTS},
            "samples": samples[name],
        }
        for name in names
    }


def show(peers: dict[str, Any], console: Console) -> None:
    """Prints a table."""
    table = Table("peer", "effort", "clients", "queries/s", "p50 ms", "p99 ms", "recall@10", "load s", "RSS MiB")
    for name, peer in peers.items():
        for clients, got in peer["clients"].items():
            figures = (f"{got['qps']:,.0f}", f"{got['p50_ms']:.2f}", f"{got['p99_ms']:.2f}", f"{got['recall']:.3f}")
            table.add_row(
                name, str(peer["effort"]), clients, *figures, f"{peer['load_s']:.1f}", f"{peer['rss_mib']:,.0f}"
            )
    console.print(table)


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("part", choices=["peers"])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    told = parser.parse_args()
    made = clustered(told.seed, told.rows + told.queries, told.dimensions)
    peers = run(told.peers, made[: told.rows], made[told.rows :], told.rounds)
    show(peers, Console())
    settings = {name: getattr(told, name) for name in ("rows", "dimensions", "queries", "rounds", "seed")}
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"benchmark": "search/peers", "measured": measured_at, "machine": machine(), **settings, "peers": peers}
    told.results.mkdir(parents=True, exist_ok=True)
    (told.results / "search-peers.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
