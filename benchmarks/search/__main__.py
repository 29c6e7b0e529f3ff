"""Measures search: `python -m benchmarks.search PART`, or `all`. Needs an idle machine.

Each part prints a table, says which promises are met, and writes JSON and a plot into benchmarks/results. Exit code 1:
a peer failed. A missed promise is no failure of the run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.search import report
from benchmarks.search.data import NotThere
from benchmarks.search.parts import cores, filtered, growth, mixed, openloop, overhead, peers
from benchmarks.search.peers import known
from benchmarks.search.remote import BENCH_PYTHON, PeerFailed
from benchmarks.search.settings import FULL, QUICK, SMOKE, Scale
from benchmarks.storage.figures import RESULTS

PARTS: Final[dict[str, Callable[[Scale, Console], report.Report]]] = {
    "peers": peers.run,
    "overhead": overhead.run,
    "openloop": openloop.run,
    "mixed": mixed.run,
    "filtered": filtered.run,
    "growth": growth.run,
    "cores": cores.run,
}
MILLION: Final = 1_000_000
_WIDTH: Final = 140  # of tables that go to a file


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "all"])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const=QUICK, dest="scale", help="all parts within ten minutes")
    size.add_argument("--smoke", action="store_const", const=SMOKE, dest="scale", help="seconds; figures mean nothing")
    parser.add_argument(
        "--peers", nargs="+", help="of `peers` and `openloop`; vectorfleet:HNSW is ours with that index"
    )
    parser.add_argument("--datasets", nargs="+", choices=["synthetic", "glove", "minilm"], help="of `peers`")
    parser.add_argument("--rows", type=int, help="of the synthetic data")
    parser.add_argument("--dimensions", type=int, help="of the synthetic data, but for `openloop`")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, help="of writing, in `mixed`")
    parser.add_argument("--million", action="store_true", help="`growth` goes on to 1,000,000 rows (an hour more)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where JSON and plots go")
    return parser.parse_args(arguments)


def scale_of(told: argparse.Namespace) -> Scale:
    """The scale with what the command line changes. ValueError names a peer that does not exist."""
    scale: Scale = told.scale or FULL
    changed = {name: getattr(told, name) for name in ("rows", "dimensions", "rounds", "minutes") if getattr(told, name)}
    for name in ("peers", "datasets"):
        if getattr(told, name):
            changed[name] = tuple(getattr(told, name))
    for peer in changed.get("peers", ()):
        known(peer)
    if told.million:
        changed["sizes"] = (*scale.sizes, MILLION)
    return replace(scale, **changed)


def main() -> None:
    """Runs the parts one after the other."""
    told, console = parsed(), Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    try:
        scale = scale_of(told)
        for name in PARTS if told.part == "all" else (told.part,):
            began = time.perf_counter()
            found = PARTS[name](scale, console)
            report.show(found, console)
            path = report.keep(found, scale, told.results)
            drawn = "" if report.draw(path, BENCH_PYTHON) else "; no plot: `make bench-search` installs what draws it"
            console.print(f"  {path.name} after {time.perf_counter() - began:.0f} s{drawn}", style="dim")
    except (PeerFailed, NotThere, ValueError) as error:
        sys.exit(f"benchmarks.search: {error}")


if __name__ == "__main__":
    main()
