"""The mutants fit the source, and only a test's own assertion kills one."""

from __future__ import annotations

import pytest

from tests.mutants import catalogue
from tests.mutants.catalogue import Mutant, Patch, StaleMutant
from tests.mutants.verdict import Kind, Outcome, Run, judge
from tests.mutants.witness import is_oracles
from vectorfleet_node.storage.wire import Truncated

PASSED = Outcome("test_a", passed=True)


@pytest.mark.parametrize("mutant", catalogue.load(), ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_source(mutant: Mutant) -> None:
    catalogue.check(mutant)


def test_there_are_mutants_enough_and_some_are_fast() -> None:
    mutants = catalogue.load()
    assert len(mutants) >= 20
    assert sum(mutant.fast for mutant in mutants) >= 8


@pytest.mark.parametrize("source", ["a = 1", "b = 2", "a = 1\na = 1"])
def test_a_patch_whose_text_is_not_there_exactly_once_is_stale(source: str) -> None:
    patch = Patch(file="vectorfleet_node/x.py", old="a = 1", new="a = 2")
    if source.count("a = 1") == 1:
        assert patch.applied(source) == "a = 2"
    else:
        with pytest.raises(StaleMutant):
            patch.applied(source)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Run(1, 1, (PASSED, Outcome("test_b", False, "AssertionError", "assert 1 == 2", oracle=True))), Kind.KILLED),
        (Run(1, 1, (Outcome("test_b", False, "AttributeError", "no attribute"),)), Kind.WRONG_DEATH),
        (Run(1, 0, (PASSED,)), Kind.SURVIVED),
        (Run(1, None, (PASSED,)), Kind.TIMED_OUT),
        (Run(1, 2, (), "ImportError while loading"), Kind.NOT_RUN),
        (Run(1, 5, ()), Kind.NOT_RUN),
        (Run(1, 0, ()), Kind.NOT_RUN),
    ],
)
def test_only_an_oracle_kills(run: Run, expected: Kind) -> None:
    assert judge(run).kind is expected


def test_an_oracle_is_a_tests_assertion_and_not_that_of_the_product_nor_any_other_error() -> None:
    with pytest.raises(AssertionError) as said:
        assert PASSED.passed is False
    assert is_oracles(said)
    with pytest.raises(pytest.fail.Exception) as nothing_raised, pytest.raises(ValueError):
        pass
    assert is_oracles(nothing_raised)
    with pytest.raises(Truncated) as crashed:
        raise Truncated
    assert not is_oracles(crashed)
    product = compile("assert False", "/product/storage/log.py", "exec")
    with pytest.raises(AssertionError) as internal:
        exec(product)
    assert not is_oracles(internal)
