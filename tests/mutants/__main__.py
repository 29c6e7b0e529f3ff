"""Breaks the storage protocol on purpose, one rule at a time, and checks that the named test notices.

`python -m tests.mutants` runs all, `--fast` those of `make test`, names only these. Exits with 1 when one survives,
dies of anything but a test's assertion, or no longer fits the source.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import as_completed as completed

from rich.console import Console
from rich.table import Table

from tests.mutants import catalogue, workshop
from tests.mutants.catalogue import Mutant, StaleMutant
from tests.mutants.verdict import Kind, Run, Verdict, judge


def chosen(names: Sequence[str], fast: bool) -> list[Mutant]:
    """The mutants to run. ValueError for a name that is none."""
    mutants = [mutant for mutant in catalogue.load() if mutant.fast or not fast]
    if unknown := set(names) - {mutant.name for mutant in mutants}:
        raise ValueError(f"there is no mutant {', '.join(sorted(unknown))}")
    return [mutant for mutant in mutants if not names or mutant.name in names]


def fail_unpatched(mutants: Sequence[Mutant], jobs: int, console: Console) -> bool:
    """Runs each distinct test once on a copy without a patch, and tells of those that fail: they kill nothing.

    Tests of one folder share a process; the simulation, which changes constants of the product, has one of its own.
    """
    folders: dict[str, dict[str, None]] = {}
    for mutant in mutants:
        folders.setdefault(mutant.killed_by.rpartition("/")[0], {})[mutant.killed_by] = None
    with ThreadPoolExecutor(jobs) as pool:
        runs = list(pool.map(lambda tests: workshop.run(list(tests), limit=workshop.LIMIT * 5), folders.values()))
    broken = [run for run in runs if run.code != 0]
    for run in broken:
        failed = [outcome.test for outcome in run.outcomes if not outcome.passed]
        console.print(f"[red]{', '.join(failed)} fails without any mutant: {judge(run).detail}", highlight=False)
    if not broken:
        passed, seconds = sum(len(run.outcomes) for run in runs), max((run.seconds for run in runs), default=0.0)
        console.print(f"{passed} tests pass on the unpatched copy ({seconds:.1f} s)")
    return bool(broken)


def run_all(mutants: Sequence[Mutant], jobs: int, console: Console) -> dict[str, tuple[Run, Verdict]]:
    """Runs the mutants; says of each how it ended as soon as it has."""
    results: dict[str, tuple[Run, Verdict]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(workshop.run, [mutant.killed_by], mutant.patch): mutant for mutant in mutants}
        for done in completed(running):
            run, name = done.result(), running[done].name
            results[name] = run, judge(run)
            kind = results[name][1].kind
            colour = "green" if kind is Kind.KILLED else "red"
            console.print(f"[{colour}]{kind.value}[/] {name} ({run.seconds:.1f} s)", highlight=False)
    return results


def table_of(mutants: Sequence[Mutant], results: dict[str, tuple[Run, Verdict]]) -> Table:
    """One line for each mutant."""
    table = Table("mutant", "promise", "killed by", "seconds", title="Mutants of the storage protocol", show_lines=True)
    for mutant in mutants:
        run, verdict = results[mutant.name]
        test = mutant.killed_by.rpartition("/")[2].replace("::", "\n")
        if verdict.kind is not Kind.KILLED:
            test = f"[red]{verdict.kind.value.upper()}[/] {test}"
        table.add_row(mutant.name, mutant.promise, f"{test}\n[dim]{verdict.detail[:80]}[/]", f"{run.seconds:.1f}")
    return table


def main() -> int:
    """Parses the command line, runs and reports; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="mutant", help="all when none is given")
    parser.add_argument("--fast", action="store_true", help="only those whose test takes a few seconds")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    console = Console()
    try:
        mutants = chosen(arguments.names, arguments.fast)
        for mutant in mutants:
            catalogue.check(mutant)
    except (StaleMutant, ValueError) as error:
        console.print(f"[red]{error}", highlight=False)
        return 1
    if fail_unpatched(mutants, arguments.jobs, console):
        return 1
    results = run_all(mutants, arguments.jobs, console)
    console.print(table_of(mutants, results))
    killed = sum(verdict.kind is Kind.KILLED for _, verdict in results.values())
    console.print(f"{killed} of {len(mutants)} mutants killed")
    return 0 if killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
