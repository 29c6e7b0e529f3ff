"""Draws the JSON of one part as a PNG beside it: `python -m benchmarks.search.plots FILE`, by the peers' environment.

Bars for what is one figure each, curves for what depends on a load or a size. A row that may not be compared is pale.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.search.settings import LIMIT_MS

Row = dict[str, Any]
_PALE: Final = 0.35


def _bars(axes: Any, rows: Sequence[Row], label: Callable[[Row], str], figure: str, title: str) -> None:
    names = [label(row) for row in rows]
    bars = axes.barh(names[::-1], [row[figure] for row in rows][::-1])
    for bar, row in zip(bars, rows[::-1], strict=True):
        bar.set_alpha(1.0 if row.get("compared", True) else _PALE)
    axes.bar_label(bars, fmt="%.4g", padding=3)
    axes.set_title(title)
    axes.set_xlabel(figure)
    axes.margins(x=0.15)


def _curves(axes: Any, rows: Sequence[Row], by: str, x: str, y: str, title: str) -> None:
    for name in dict.fromkeys(row[by] for row in rows):
        mine = [row for row in rows if row[by] == name]
        axes.plot([row[x] for row in mine], [row[y] for row in mine], marker="o", label=str(name))
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.legend()


def _peers(figure: Any, rows: Sequence[Row]) -> None:
    datasets, clients = sorted({row["dataset"] for row in rows}), sorted({row["clients"] for row in rows})
    grid = figure.subplots(len(datasets), len(clients), squeeze=False)
    for line, dataset in zip(grid, datasets, strict=True):
        for axes, count in zip(line, clients, strict=True):
            mine = [row for row in rows if row["dataset"] == dataset and row["clients"] == count]
            _bars(axes, mine, lambda row: row["peer"], "qps", f"{dataset}, {count} client(s)")


def _overhead(figure: Any, rows: Sequence[Row]) -> None:
    one, many = figure.subplots(1, 2)
    single = [row for row in rows if row["batch"] == 1]
    _bars(one, single, lambda row: row["who"], "cpu_us", "CPU a query")
    _bars(many, [row for row in rows if row not in single], lambda row: row["who"], "qps", "requests of many queries")


def _openloop(figure: Any, rows: Sequence[Row]) -> None:
    for axes, name in zip(figure.subplots(1, 3), ("p50_ms", "p99_ms", "p999_ms"), strict=True):
        _curves(axes, rows, "peer", "rate", name, f"{name} against offered load")
        axes.set_yscale("log")
        axes.axhline(LIMIT_MS, linestyle=":", color="grey")


def _mixed(figure: Any, rows: Sequence[Row]) -> None:
    for axes, name in zip(figure.subplots(1, 3), ("qps", "p99_ms", "recall"), strict=True):
        _bars(axes, rows, lambda row: f"{row['when']}, {row['load']}", name, name)


def _filtered(figure: Any, rows: Sequence[Row]) -> None:
    for axes, name in zip(figure.subplots(1, 2), ("qps", "recall"), strict=True):
        _bars(axes, rows, lambda row: f"{row['percent']} %", name, f"{name} by rows that pass")


def _growth(figure: Any, rows: Sequence[Row]) -> None:
    for axes, name in zip(figure.subplots(1, 3), ("qps", "load_s", "bytes_a_row"), strict=True):
        _bars(axes, rows, lambda row: f"{row['rows']:,}", name, f"{name} by rows")


def _cores(figure: Any, rows: Sequence[Row]) -> None:
    _bars(
        figure.subplots(),
        rows,
        lambda row: f"{row['cores']} core(s), {row['fronts']} front(s), {row['batch']} a request",
        "qps",
        "throughput",
    )


DRAWN: Final = {
    "peers": _peers,
    "overhead": _overhead,
    "openloop": _openloop,
    "mixed": _mixed,
    "filtered": _filtered,
    "growth": _growth,
    "cores": _cores,
}


def main() -> None:
    """Draws the file of the command line."""
    path = Path(sys.argv[1])
    content = json.loads(path.read_text())
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    lines = len({row.get("dataset") for row in content["rows"]})
    figure = pyplot.figure(figsize=(14, 4.5 * lines), layout="constrained")
    machine, scale = content["machine"], content["settings"]["name"]
    figure.suptitle(f"{content['benchmark']} ({scale}), {machine['cores']} cores of {machine['cpu']}")
    DRAWN[content["benchmark"].partition("/")[2]](figure, content["rows"])
    figure.savefig(path.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    main()
