"""The cases of `make property`: the same seeds each time. `python -m tests.property` draws others."""

from __future__ import annotations

from typing import Final

import pytest

from .run import CI_CASES, describe, run_case, run_many

_RECALL: Final = 0.99  # graphs over some hundred rows; scans answer exactly
_RARE: Final = ("import", "tied at k", "held", "taken over while held", "follow", "delete matching")


def test_a_case_repeats_with_its_seed() -> None:
    first: list[str] = []
    again: list[str] = []
    assert run_case(7, first.append) == run_case(7, again.append)
    assert first == again
    assert len(first) > 20


def test_every_answer_is_that_of_the_oracle(capsys: pytest.CaptureFixture[str]) -> None:
    summary = run_many(CI_CASES, first=1, processes=2)
    with capsys.disabled():
        print("", describe(summary), sep="\n")
    assert not summary.broken, describe(summary)
    assert summary.recall >= _RECALL
    assert all(summary.seen[name] >= 100 for name in _RARE), describe(summary)
