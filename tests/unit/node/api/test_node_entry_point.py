"""The node's entry point hears SIGTERM before it imports anything that takes time."""

from __future__ import annotations

import subprocess
import sys


def test_nothing_of_weight_is_imported_before_sigterm_is_heard() -> None:
    code = "import sys, vectorfleet_node.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "vectorfleet_node.main" in loaded
    assert not {"grpc", "numpy", "pyarrow", "faiss"} & set(loaded)
