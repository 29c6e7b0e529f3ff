"""The cases of `make property` as a killer: for mutants that show in wrong answers after a sequence of operations."""

from __future__ import annotations

from typing import Final

from tests.property.run import run_cases

_SEEDS: Final = range(1, 101)


def test_every_answer_of_100_cases_is_that_of_the_oracle() -> None:
    wrong = run_cases(_SEEDS)
    assert wrong is None, f"seed {wrong.seed}: {wrong.problem}"
