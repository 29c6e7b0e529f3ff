"""The entry point: it must hear SIGTERM before anything slow is imported."""

from __future__ import annotations

import subprocess
import sys

WEIGHTY = {"kopf", "kubernetes", "grpc", "pydantic", "aiohttp"}


def test_the_entry_point_imports_nothing_of_weight_before_it_listens() -> None:
    code = "import sys, vectorfleet_operator.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "vectorfleet_operator.main" in loaded
    assert WEIGHTY.isdisjoint(loaded)
