"""Every part of the search benchmarks with tiny data: that they run, not what they measure. `make bench-smoke`.

Peers are tried where their environment is installed (`make bench-search` does that).
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.search import report
from benchmarks.search.__main__ import PARTS
from benchmarks.search.data import synthetic
from benchmarks.search.parts import peers
from benchmarks.search.peers import KNOWN, known
from benchmarks.search.peers.base import Ask
from benchmarks.search.remote import BENCH_PYTHON, PROGRAMS, ROOT, PeerFailed, stage
from benchmarks.search.settings import SMOKE
from devcluster.programs import programs

OTHERS = [name for name in KNOWN if name != "engine" and name not in SMOKE.peers]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_runs_to_the_end_and_keeps_its_figures(part: str, tmp_path: Path) -> None:
    found = PARTS[part](SMOKE, Console())
    report.show(found, Console(width=200))
    path = report.keep(found, SMOKE, tmp_path)
    content = json.loads(path.read_text())
    assert content["rows"]
    assert content["settings"]["name"] == "smoke"
    assert all(column in row for row in content["rows"] for column in found.columns)
    if report.draw(path, BENCH_PYTHON):
        assert path.with_suffix(".png").stat().st_size > 0


@pytest.mark.parametrize("peer", OTHERS)
def test_a_peer_answers_with_the_nearest_rows(peer: str) -> None:
    if known(peer).go_module:
        program = next(each for each in programs(PROGRAMS) if each.name == peer)
        if not program.built.exists():
            pytest.skip("it is not built; `make bench-search` does it")
    elif not BENCH_PYTHON.exists():
        pytest.skip("the peers are not installed; `make bench-search` does it")
    found = peers.run(replace(SMOKE, peers=(peer,)), Console())
    assert {row["peer"] for row in found.rows} == {peer}
    assert all(row["recall"] >= 0.9 for row in found.rows)


def test_a_peer_that_fails_ends_the_run_and_is_named() -> None:
    with (
        stage(synthetic(SMOKE), 10) as prepared,
        pytest.raises(PeerFailed, match="engine:short failed at load"),
    ):
        prepared.start("engine:short", segments=[(SMOKE.rows - 1, "Exact")])


def test_raw_engine_over_several_segments_gives_what_it_gives_over_one() -> None:
    with stage(synthetic(SMOKE), 10) as prepared:
        for segments in ([(SMOKE.rows, "Exact")], [(200, "Exact"), (SMOKE.rows - 200, "Exact")]):
            worker, _ = prepared.start(f"engine:{len(segments)}", segments=segments)
            assert worker.closed(Ask(), 1, 0.2)["recall"] == 1.0


def test_an_unknown_peer_is_refused_with_those_that_exist() -> None:
    command = [sys.executable, "-m", "benchmarks.search", "peers", "--smoke", "--peers", "elastic"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "there is no peer 'elastic'; there are vectorfleet" in done.stderr
