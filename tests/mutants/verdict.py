"""What the run of a mutant's test says; pure. `workshop` makes the runs, `witness` the outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Outcome:
    """How one test ended. error: the type of its exception; oracle: whether a test's own assertion raised it."""

    test: str
    passed: bool
    error: str = ""
    message: str = ""
    oracle: bool = False


@dataclass(frozen=True)
class Run:
    """One run of pytest. code: its exit code, None when it was ended for taking too long. output: its last line."""

    seconds: float
    code: int | None
    outcomes: tuple[Outcome, ...]
    output: str = ""


class Kind(Enum):
    """Only KILLED is good."""

    KILLED = "killed"
    SURVIVED = "survived"
    WRONG_DEATH = "died wrongly"
    TIMED_OUT = "timed out"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Verdict:
    """detail: the assertion that killed the mutant, or what went wrong."""

    kind: Kind
    detail: str


def judge(run: Run) -> Verdict:
    """A mutant is killed only by an assertion of the test: a crash of the mutant shows no oracle."""
    if run.code is None:
        return Verdict(Kind.TIMED_OUT, f"no end within {run.seconds:.0f} s")
    failed = next((outcome for outcome in run.outcomes if not outcome.passed), None)
    if failed is not None:
        kind = Kind.KILLED if failed.oracle else Kind.WRONG_DEATH
        return Verdict(kind, f"{failed.error}: {failed.message}")
    if run.code == 0 and run.outcomes:
        return Verdict(Kind.SURVIVED, "every test passed")
    return Verdict(Kind.NOT_RUN, f"pytest ended with {run.code}: {run.output}")
