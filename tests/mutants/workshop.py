"""Runs tests against a patched copy of the product. Called by `__main__`, from several threads at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.mutants import witness
from tests.mutants.catalogue import PACKAGES, ROOT, Patch
from tests.mutants.verdict import Outcome, Run

LIMIT: Final = 120.0  # seconds; the slowest killer needs a fraction of it on an idle machine


def run(tests: Sequence[str], patches: Sequence[Patch] = (), *, limit: float = LIMIT) -> Run:
    """Runs pytest nodes, up to the first that fails, with a copy of the product that has the patches."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy, report = Path(folder, "copy"), Path(folder, "report")
        for name, source in PACKAGES.items():
            shutil.copytree(source, copy / name)  # with compiled files: only what is patched is compiled anew
        for patch in patches:
            path = copy / patch.file
            path.write_text(patch.applied(path.read_text()))
        started = time.monotonic()
        code, output = _pytest(tests, copy, report, limit)
        lines = report.read_text().splitlines() if report.exists() else []
        outcomes = tuple(Outcome(**json.loads(line)) for line in lines)
        return Run(time.monotonic() - started, code, outcomes, output)


def _pytest(tests: Sequence[str], copy: Path, report: Path, limit: float) -> tuple[int | None, str]:
    options = ["-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-p", witness.__name__]
    environment = os.environ | {"PYTHONPATH": str(copy), witness.COPY: str(copy), witness.REPORT: str(report)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=ROOT,
            env=environment,
            timeout=limit,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, " ".join((done.stdout + done.stderr).strip().splitlines()[-1:])
