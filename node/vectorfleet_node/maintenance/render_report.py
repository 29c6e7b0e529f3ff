"""The report of a check as text: a table of the shards, then what was found, the worst first. Used by `fsck`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from vectorfleet_node.maintenance.findings import Finding, Report, Severity, ShardReport
from vectorfleet_node.maintenance.render_log import size_text
from vectorfleet_node.maintenance.repair import Repair
from vectorfleet_node.maintenance.words import counted

_SHOWN: Final = {Severity.DAMAGE: 1000, Severity.WARNING: 20, Severity.GARBAGE: 3}  # of each kind
_STYLES: Final = {Severity.DAMAGE: "bold red", Severity.WARNING: "yellow", Severity.GARBAGE: "dim"}


def report_json(report: Report) -> dict[str, Any]:
    """The whole report for programs."""
    return {
        "url": report.url,
        "uid": report.uid,
        "clean": report.clean,
        "complete": report.complete,
        "shards": [
            {
                "shard": shard.shard,
                "tail": shard.tail,
                "records": shard.records,
                "epoch": shard.epoch,
                "boundary": shard.boundary,
                "manifests": shard.manifests,
                "segments": shard.segments,
                "files": shard.files,
                "bytes": shard.bytes,
                "rows": shard.rows,
            }
            for shard in report.shards
        ],
        "findings": [finding.as_json() for finding in report.all_findings],
    }


def print_report(report: Report, console: Console | None = None) -> None:
    """The report, on standard output."""
    console = console or Console(highlight=False)
    console.print(Text(f"collection {report.uid or 'of unknown uid'} at {report.url}", style="bold"))
    if report.shards:
        console.print(_table(report.shards))
    for severity in Severity:
        for block in _findings(report.of(severity), severity):
            console.print(block)
    console.print(_verdict(report))


def _table(shards: list[ShardReport]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("shard", "rows", "log tail", "manifests", "files", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("found")
    for shard in shards:
        rows = "?" if shard.rows is None else f"{shard.rows:,}"
        counts = [f"{number:,}" for number in (shard.tail, shard.manifests, shard.files)]
        table.add_row(str(shard.shard), rows, *counts, size_text(shard.bytes), _found(shard.findings))
    return table


def _found(findings: list[Finding]) -> Text:
    told = Text()
    for severity in Severity:
        count = sum(finding.kind.severity is severity for finding in findings)
        if count:
            told.append(f"{', ' if told else ''}{count} {severity.value}", _STYLES[severity])
    return told or Text("clean", "green")


def _findings(findings: list[Finding], severity: Severity) -> Iterator[Text | Padding]:
    ordered = sorted(findings, key=lambda finding: (finding.kind.name, finding.shard or 0, finding.key))
    for kind, group in groupby(ordered, key=lambda finding: finding.kind):
        found = list(group)
        size = sum(finding.size or 0 for finding in found)
        total = f", {size_text(size)}" if size and severity is Severity.GARBAGE else ""
        yield Text(f"{severity.value}: {kind.label.replace('-', ' ')} ({len(found)}{total})", _STYLES[severity])
        for finding in found[: _SHOWN[severity]]:
            yield Padding(Text(f"{finding.key}: {finding.problem}"), (0, 0, 0, 2), expand=False)
        if len(found) > _SHOWN[severity]:
            yield Padding(
                Text(f"... and {len(found) - _SHOWN[severity]} more; --json lists all"), (0, 0, 0, 2), expand=False
            )
        yield Padding(Text(f"means: {kind.value.meaning}\ndo:    {kind.value.remedy}"), (0, 0, 1, 2), expand=False)


def _verdict(report: Report) -> Text:
    damage, garbage = report.of(Severity.DAMAGE), report.of(Severity.GARBAGE)
    if damage:
        return Text(f"DAMAGED: {counted(len(damage), 'finding')} above", "bold red")
    if not report.complete:
        return Text("not checked in full: a newer version wrote part of it", "bold yellow")
    left = f"; {counted(len(garbage), 'object')} of garbage" if garbage else ""
    return Text(f"clean: every object that counts is there and right{left}", "green")


def print_repairs(repairs: list[Repair]) -> None:
    """What a repair did, what it lost, and what it did not do."""
    console = Console(highlight=False)
    for repair in repairs:
        where = "collection" if repair.shard is None else f"shard {repair.shard}"
        state, style = ("NOT REPAIRED", "bold red") if repair.refused else ("repaired", "bold green")
        console.print(Text(f"{where}: {state}{f': {repair.refused}' if repair.refused else ''}", style))
        for told in repair.done:
            console.print(Padding(Text(told), (0, 0, 0, 2), expand=False))
        for loss in repair.losses:
            lost = "would be lost" if repair.refused else "lost"
            console.print(Padding(Text(f"{lost}: {loss}", "red"), (0, 0, 0, 2), expand=False))


@contextmanager
def told_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error, when that is a terminal; what to call with (what, done, of how much)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("looking")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
