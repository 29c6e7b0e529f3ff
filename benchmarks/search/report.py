"""What a part hands back: rows of a table, and what was promised. Printed, kept as JSON, drawn by `plots`."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.search.processes import Cores
from benchmarks.search.settings import Scale
from benchmarks.storage.figures import machine, machine_text

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """A promise: what was measured, what was wanted in words, and whether it is so; None: it could not be shown.

    wanted: empty where nothing was promised and the value is just told.
    """

    name: str
    value: str
    wanted: str
    met: bool | None


@dataclass(frozen=True)
class Report:
    """The figures of one part. columns: name and format of those that are printed, which each row has.

    about: how it was measured, a sentence each. details: more for the JSON, such as the sweeps.
    """

    part: str
    columns: Mapping[str, str]
    rows: Sequence[Row]
    checks: Sequence[Check] = ()
    about: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def medians(samples: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    """The median over the rounds of each figure."""
    return {name: float(statistics.median(sample[name] for sample in samples)) for name in names}


def placed(cores: Cores) -> str:
    """A sentence on who ran where."""
    if cores.apart:
        return f"the server has {len(cores.server)} core(s), the client {len(cores.client)} other(s)"
    return f"server and client share cores: the server has {len(cores.server)}, the client {len(cores.client)} of these"


def show(report: Report, console: Console) -> None:
    """Prints a report."""
    table = Table(*report.columns, title=f"search: {report.part}")
    for row in report.rows:
        table.add_row(*(_cell(row.get(name), how) for name, how in report.columns.items()))
    console.print(table)
    for check in report.checks:
        met = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]not shown[/]"}[check.met]
        verdict = f" (wanted: {check.wanted}) {met}" if check.wanted else ""
        console.print(f"  {check.name}: {check.value}{verdict}", highlight=False)
    for sentence in (*report.about, machine_text()):
        console.print(f"  {sentence}", highlight=False, style="dim")


def _cell(value: Any, how: str) -> str:
    if value is None:
        return "-"
    return format(value, how) if how else str(value)


def kept(part: str, scale: Scale, folder: Path) -> Path:
    """The JSON of a part at a scale."""
    return folder / f"search-{part}{'' if scale.name == 'full' else '-' + scale.name}.json"


def keep(report: Report, scale: Scale, folder: Path) -> Path:
    """Writes a report as JSON over the former one of its name and scale; the file."""
    content = {
        "benchmark": f"search/{report.part}",
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": asdict(scale),
        "about": report.about,
        "checks": [asdict(check) for check in report.checks],
        "rows": report.rows,
        **report.details,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = kept(report.part, scale, folder)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def draw(path: Path, python: Path) -> bool:
    """A PNG beside the JSON, by the environment that has a plotting library; whether there is one."""
    if not python.exists():
        return False
    subprocess.run([python, "-m", "benchmarks.search.plots", path], check=True, cwd=Path(__file__).parents[2])
    return True
