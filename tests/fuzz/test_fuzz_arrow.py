"""Hostile Arrow behind a right checksum, in a process of its own: no crash, and no memory because it claims it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", ["record", "rows", "fields", "requests"])
def test_hostile_arrow_ends_in_an_error_of_ours(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "hostile_arrow.py"), kind, "20261125"],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ":".join([*sys.path, str(HERE)])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tried, refused = map(int, done.stdout.split())
    assert tried > 2000
    assert refused > tried / 10
