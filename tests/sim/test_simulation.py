"""The simulation as a test. VECTORFLEET_SIM_SECONDS: how long (default 120); VECTORFLEET_SIM_SEED: the first seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .events import table, too_seldom
from .run import CI_SECONDS, CI_SEEDS, describe, run_for

_SECONDS = float(os.environ.get("VECTORFLEET_SIM_SECONDS", CI_SECONDS))
_FIRST = int(os.environ.get("VECTORFLEET_SIM_SEED", "1"))
_ROOT = Path(__file__).parents[2]


def _replay(seed: int, hash_seed: str) -> str:
    """What `python -m tests.sim --seed` says."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seed", str(seed)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


@pytest.mark.parametrize("seed", [7, 10], ids=["on a bucket", "on a volume"])
def test_a_seed_repeats_exactly_in_another_process_with_another_hash_seed(seed: int) -> None:
    first = _replay(seed, "1")
    assert "trace" in first
    assert _replay(seed, "2") == first


def test_no_promise_is_broken_and_everything_rare_happens(capsys: pytest.CaptureFixture[str]) -> None:
    full = _SECONDS >= CI_SECONDS  # a slow machine takes longer, so that the table means the same everywhere
    summary = run_for(_SECONDS, _FIRST, processes=2, at_least=CI_SEEDS if full else 0)
    with capsys.disabled():
        print("", table(summary.events), describe(summary), sep="\n")
    assert not summary.broken, describe(summary)
    assert summary.fewest_calls >= 300
    if full:
        assert not too_seldom(summary.events)
