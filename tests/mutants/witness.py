"""A pytest plugin for the run of one mutant: makes sure that the copy is tested, and writes how each test ended.

Loaded by `workshop` with `-p`. The environment says where the copy is and where to write. A line is written as soon as
a test has ended, so that what was seen before a time-out is not lost.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from tests.mutants.catalogue import PACKAGES, ROOT
from tests.mutants.verdict import Outcome

COPY: Final = "MUTANT_COPY"
REPORT: Final = "MUTANT_REPORT"


def pytest_configure() -> None:
    """Refuses to go on with any source but the copy's."""
    copy = Path(os.environ[COPY]).resolve()
    for package in PACKAGES:
        found = Path(str(importlib.import_module(package).__file__)).resolve()
        if not found.is_relative_to(copy):
            raise pytest.UsageError(f"{package} is imported from {found}, not from the copy {copy}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes a test that failed in any phase, and one whose body passed."""
    report = yield
    if report.failed and call.excinfo is not None:
        error, text = call.excinfo.value, str(call.excinfo.value).strip()
        message = text.splitlines()[0] if text else ""
        _note(Outcome(item.nodeid, False, type(error).__name__, message, is_oracles(call.excinfo)))
    elif report.passed and report.when == "call":
        _note(Outcome(item.nodeid, True))
    return report


def is_oracles(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether a test said so: `assert` or a subclass of AssertionError raised below tests/, or `pytest.fail`.

    `pytest.raises` fails by the latter when nothing was raised. An assertion of the product itself does not count.
    """
    if isinstance(excinfo.value, pytest.fail.Exception):
        return True
    raised_in = Path(excinfo.traceback[-1].path)
    return isinstance(excinfo.value, AssertionError) and raised_in.is_relative_to(ROOT / "tests")


def _note(outcome: Outcome) -> None:
    with Path(os.environ[REPORT]).open("a") as report:
        report.write(json.dumps(asdict(outcome)) + "\n")
