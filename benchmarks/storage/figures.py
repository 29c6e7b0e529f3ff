"""What a benchmark hands back, printed as a table and kept as JSON. Used by those of storage and of imports."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True)
class Figure:
    """A measured value beside what it is compared with.

    value, raw: in `unit`; raw is None for a figure that is printed for information. share: the ratio in question.
    wanted: what the ratio must be: at least or at most `bound`; None when nothing was promised.
    """

    name: str
    value: float
    unit: str
    raw: float | None = None
    raw_name: str = ""
    wanted: Literal["at least", "at most"] | None = None
    bound: float = 0.0

    @property
    def ratio(self) -> float | None:
        """value / raw."""
        return None if self.raw is None else self.value / self.raw

    @property
    def met(self) -> bool | None:
        """Whether the ratio is what was wanted; None when nothing was."""
        if self.ratio is None or self.wanted is None:
            return None
        return self.ratio >= self.bound if self.wanted == "at least" else self.ratio <= self.bound


@dataclass(frozen=True)
class Report:
    """The figures of one benchmark. about: what was measured and how, a sentence each. group: what it belongs to."""

    name: str
    about: tuple[str, ...]
    figures: tuple[Figure, ...]
    group: str = "storage"


def median(values: Sequence[float]) -> float:
    """The median of the rounds of one run."""
    return float(statistics.median(values))


def show(report: Report, console: Console) -> None:
    """Prints a report."""
    table = Table("figure", "value", "raw, same run", "ratio", "wanted", "met", title=f"{report.group}: {report.name}")
    for figure in report.figures:
        raw = "" if figure.raw is None else f"{figure.raw:,.4g} {figure.unit} ({figure.raw_name})"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        wanted = "" if figure.wanted is None else f"{figure.wanted} {figure.bound:g}"
        met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[figure.met]
        table.add_row(figure.name, f"{figure.value:,.4g} {figure.unit}", raw, ratio, wanted, met)
    console.print(table)
    for sentence in (*report.about, machine_text()):
        console.print(f"  {sentence}", highlight=False, style="dim")


def keep(report: Report, folder: Path = RESULTS) -> Path:
    """Writes a report as JSON over the former one of its name; the file."""
    figures = [{**asdict(figure), "ratio": figure.ratio, "met": figure.met} for figure in report.figures]
    content = {
        "benchmark": f"{report.group}/{report.name}",
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "about": report.about,
        "figures": figures,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.group}-{report.name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def machine() -> dict[str, str | int]:
    """What the figures depend on, without names of hosts or folders."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def machine_text() -> str:
    """`machine` as a sentence."""
    found = machine()
    return f"{found['cores']} cores of {found['cpu']}, {found['memory_gib']} GiB, Linux {found['kernel']}"


def file_system(folder: Path) -> str:
    """The type of the file system that holds a folder, such as ext4."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind
