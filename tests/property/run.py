"""Runs cases by their seeds, in one process or several, for `__main__` and the tests."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from .case import Case

CI_CASES: Final = 1500
_TMPFS: Final = Path("/dev/shm")
_HANGS_AFTER: Final = 120.0  # seconds; a case takes a fraction of one


@dataclass(frozen=True)
class Outcome:
    """How a case ended. problem: empty when every answer was right."""

    seed: int
    seen: Counter[str]
    problem: str


@dataclass
class Summary:
    """Of many cases."""

    cases: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    broken: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def recall(self) -> float:
        """The share of the rows among the best k that graphs found."""
        return self.seen["found"] / max(1, self.seen["wanted"])

    def add(self, outcome: Outcome) -> None:
        """One more case."""
        self.cases += 1
        self.seen += outcome.seen
        if outcome.problem:
            self.broken.append(outcome)

    def join(self, other: Summary) -> None:
        """The cases of another process."""
        self.cases += other.cases
        self.seen += other.seen
        self.broken += other.broken
        self.seconds = max(self.seconds, other.seconds)


def run_case(seed: int, show: Callable[[str], None] | None = None) -> Outcome:
    """One case; what went wrong is in the outcome. show: gets what happens, line by line."""
    pa.set_cpu_count(1)
    scratch = _TMPFS if os.access(_TMPFS, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="vectorfleet-property-", dir=scratch) as folder:
        case = Case(seed, Path(folder), show or (lambda _: None))
        problem = ""
        try:
            asyncio.run(asyncio.wait_for(case.run(), _HANGS_AFTER))
        except AssertionError as wrong:
            problem = str(wrong) or "".join(traceback.format_exception(wrong)[-2:]).strip()
        except Exception as error:  # noqa: BLE001 - whatever it is, its seed must be told
            problem = f"failed: {error!r}"
    return Outcome(seed, case.seen, problem)


def run_cases(seeds: Iterable[int]) -> Outcome | None:
    """The first of the seeds at which an answer is wrong, None when none is."""
    return next((outcome for seed in seeds if (outcome := run_case(seed)).problem), None)


def run_many(cases: int, first: int, processes: int) -> Summary:
    """Runs so many cases from seed `first` on, until an answer is wrong."""
    summary = Summary()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        shares = [
            pool.submit(_run_share, range(first + number, first + cases, processes)) for number in range(processes)
        ]
        for share in shares:
            summary.join(share.result())
    return summary


def describe(summary: Summary) -> str:
    """What was run, and for each wrong answer how to see it again."""
    happened = ", ".join(f"{count} {name}" for name, count in sorted(summary.seen.items()) if name != "wanted")
    lines = [f"{summary.cases} cases in {summary.seconds:.0f} s: {happened}", f"recall on graphs {summary.recall:.4f}"]
    for outcome in summary.broken:
        lines += [
            f"seed {outcome.seed}: {outcome.problem}",
            f"    see it again: python -m tests.property --seed {outcome.seed}",
        ]
    return "\n".join(lines)


def _run_share(seeds: range) -> Summary:
    began, summary = time.monotonic(), Summary()
    for seed in seeds:
        summary.add(run_case(seed))
        if summary.broken:
            break
    summary.seconds = time.monotonic() - began
    return summary
