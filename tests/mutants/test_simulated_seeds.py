"""The simulation as a killer: for mutants that only show when several nodes, crashes and a hostile network meet."""

from __future__ import annotations

from typing import Final

from tests.sim.run import run_seeds

_SEEDS: Final = range(1, 61)


def test_no_promise_is_broken_in_sixty_seeds() -> None:
    broken = run_seeds(_SEEDS)
    assert broken is None, f"seed {broken.seed}: {broken.violation}"
