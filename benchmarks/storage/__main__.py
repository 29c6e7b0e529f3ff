"""Runs the benchmarks of the storage engine: `python -m benchmarks.storage append`, or `all`. Needs an idle machine.

Each prints its figures beside the raw figure measured in the same run, and writes them into benchmarks/results.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console

from benchmarks.storage import append, s3, space, start
from benchmarks.storage.figures import RESULTS, Report, keep, show
from vectorfleet.schema import IndexType


def _append(folder: Path, small: bool) -> Awaitable[Report]:
    if small:
        return append.run(folder, rounds=2, parts=100, sustained_parts=200)
    return append.run(folder, rounds=7, parts=400, sustained_parts=3000)


def _s3(folder: Path, small: bool) -> Awaitable[Report]:
    return s3.run(folder, rounds=2, parts=100) if small else s3.run(folder, rounds=7, parts=400)


def _start(folder: Path, small: bool, index: IndexType) -> Awaitable[Report]:
    if small:
        return start.run(folder, rounds=1, rows=100_000, index=index)
    return start.run(folder, rounds=5, rows=1_000_000, index=index)


def _space(folder: Path, small: bool) -> Awaitable[Report]:
    if small:
        return space.run(folder, rows=20_000, updates=20_000)
    return space.run(folder, rows=500_000, updates=500_000)


BENCHMARKS: Final[dict[str, Callable[[Path, bool], Awaitable[Report]]]] = {
    "append": _append,
    "s3": _s3,
    "start": partial(_start, index=IndexType.EXACT),
    "start-hnsw": partial(_start, index=IndexType.HNSW),
    "space": _space,
}


async def _measured(work: Awaitable[Report]) -> Report:
    return await work


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the file system to measure")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--small", action="store_true", help="seconds instead of minutes; the figures mean little")
    arguments = parser.parse_args()
    console = Console()
    for name, measure in BENCHMARKS.items():
        if arguments.benchmark in (name, "all"):
            report = uvloop.run(_measured(measure(arguments.folder, arguments.small)))  # as a node does
            show(report, console)
            keep(report, arguments.results)


if __name__ == "__main__":
    main()
