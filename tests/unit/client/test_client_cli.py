"""The command line: tables for humans, JSON for programs, and one line where something is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vectorfleet import Client, from_arrays
from vectorfleet.cli import main
from vectorfleet.cli.render import print_explanation, print_shards
from vectorfleet.testing import FakeFleet
from vectorfleet.values import CollectionInfo, IndexInfo, ReplicaInfo, SegmentExplanation, ShardExplanation, ShardInfo

VECTORS = np.random.default_rng(4).standard_normal((50, 3), dtype=np.float32)


class Shell:
    """Runs the command in this process against the fake fleet."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors = ""  # of the last run
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: str, code: int = 0) -> str:
        """Standard output; standard error where `code` is not 0."""
        self._monkeypatch.setattr(sys, "argv", ["vectorfleet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        self.errors = err
        assert ended.value.code == code, err
        return err if code else out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def shell(fleet: FakeFleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("VECTORFLEET_SERVER", fleet.address)
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(capsys, monkeypatch)


@pytest.fixture
def loaded(shell: Shell, client: Client) -> Shell:
    client.load("things", from_arrays(VECTORS, fields={"lang": ["en"] * 25 + ["de"] * 25, "year": list(range(50))}))
    return shell


def test_help_names_every_command_with_a_sentence(shell: Shell) -> None:
    text = shell.run("--help")
    for command in ("search", "get", "scan", "count", "status", "load", "import", "create", "delete", "serve"):
        assert f"│ {command} " in text
    assert "VECTORFLEET_SERVER" in shell.run("search", "--help")


def test_a_file_becomes_a_searchable_collection_with_one_command(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    np.save(file, VECTORS)
    assert "50 rows in" in shell.run("load", "pages", str(file), "--create", "--metric", "l2")
    assert shell.run("count", "pages") == "50\n"
    found = shell.json("search", "pages", "--like", "42", "-k", "5")["results"][0]
    assert len(found) == 5
    nearest = np.argsort(((VECTORS - VECTORS[42]) ** 2).sum(axis=1))[1:6]
    assert [hit["key"] for hit in found] == nearest.tolist(), "the row itself is left out"
    assert shell.json("load", "pages", str(file), "--skip", "40")["rows"] == 10


def test_a_file_is_imported_once_however_often_it_is_said(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    np.save(file, VECTORS)
    assert "50 rows in" in shell.run("import", "pages", str(file), "--create", "--part-rows", "20", "--parallel", "2")
    again = shell.run("import", "pages", str(file), "--part-rows", "20")
    assert again.startswith("0 rows in")
    assert again.endswith(", 50 more by an earlier import\n")
    assert shell.json("import", "pages", str(file), "--part-rows", "20", "--no-resume")["repeated"] == 0
    assert shell.run("count", "pages") == "50\n"


def test_what_is_wrong_with_an_import_is_told_in_one_line(loaded: Shell, tmp_path: Path) -> None:
    broken = VECTORS.copy()
    broken[42, 1] = np.nan
    np.save(tmp_path / "broken.npy", broken)
    np.save(tmp_path / "flat.npy", VECTORS[:, :2])
    for name, problem in (
        ("broken.npy", "row 42: the vector holds NaN or infinity (0 rows are stored)"),
        ("flat.npy", "the source has vectors of 2 dimensions and things has 3 (0 rows are stored)"),
        ("none.npy", "no such file"),
    ):
        error = loaded.run("import", "things", str(tmp_path / name), code=1)
        assert error.count("\n") == 1
        assert problem in error


def test_search_takes_json_files_and_standard_input(
    loaded: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = json.dumps(VECTORS[3].tolist())
    file, table = tmp_path / "query.json", tmp_path / "query.npy"
    file.write_text(query)
    np.save(table, VECTORS[3:5])
    monkeypatch.setattr(sys, "stdin", io.StringIO(query))
    for given in (query, str(file), "-"):
        assert loaded.json("search", "things", given, "-k", "1")["results"][0][0]["key"] == "3"
    results = loaded.json("search", "things", str(table), "-k", "1")["results"]
    assert [hits[0]["key"] for hits in results] == ["3", "4"]


def test_tables_show_keys_scores_and_fields(loaded: Shell) -> None:
    text = loaded.run("search", "things", "--like", "3", "-k", "2", "--filter", 'lang == "en"')
    assert "score" in text
    assert "lang" in text
    assert "de" not in text
    row = loaded.run("get", "things", "7", "--vectors")
    assert "en" in row
    assert "[" in row
    assert "year" not in loaded.run("get", "things", "7", "--fields", "lang")


def test_rows_are_counted_read_and_deleted(loaded: Shell) -> None:
    assert loaded.run("count", "things", "--filter", "year >= 40") == "10\n"
    assert loaded.json("get", "things", "7")[0]["fields"]["year"] == 7
    assert loaded.run("delete", "things", "7", "8") == "deleted 2 keys\n"
    assert loaded.json("count", "things") == {"count": 48}
    assert "has no row with key 7" in loaded.run("get", "things", "7", code=1)


def test_status_shows_collections_and_every_copy(loaded: Shell) -> None:
    assert "things" in loaded.run("status")
    text = loaded.run("status", "things")
    assert "fake (leader)" in text
    assert "50" in text
    assert loaded.json("status", "things")[0]["shards"][0]["replicas"][0]["rows"] == 50


def test_a_load_into_a_full_server_says_once_that_it_waits(loaded: Shell, fleet: FakeFleet, tmp_path: Path) -> None:
    np.save(tmp_path / "more.npy", VECTORS)
    fleet.fill("Upsert", times=6)
    assert "50 rows" in loaded.run("load", "more", str(tmp_path / "more.npy"), "--create", "--batch-size", "10")
    assert loaded.errors.startswith("vectorfleet: the server is full, waiting: ")
    assert loaded.errors.count("\n") == 1
    fleet.fill("Upsert", times=4, retry_after=1000)
    text = loaded.run("load", "more", str(tmp_path / "more.npy"), code=1)
    assert "the server is full" in text
    assert "go on with skip=0" in text
    assert text.count("\n") == 1


def test_create_makes_a_collection_with_fields(shell: Shell) -> None:
    assert "no collections yet" in shell.run("status")
    shell.run("create", "pages", "-d", "8", "--field", "lang:String", "--field", "year:Int64")
    info = shell.json("status", "pages")[0]
    assert [(each["name"], each["type"]) for each in info["fields"]] == [("lang", "String"), ("year", "Int64")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "things"], 2, "a query vector or --like KEY"),
        (["search", "things", "[1]", "--like", "a"], 2, "one of the two"),
        (["search", "things", "--like", "nothing"], 1, "no row with key 'nothing'"),
        (["search", "things", "[1, 2"], 1, "no JSON list"),
        (["search", "things", "[1, 2]"], 1, "2 dimensions"),
        (["search", "things", "absent.npy"], 1, "no such file"),
        (["search", "nowhere", "[1]"], 1, "no collection"),
        (["count", "things", "--filter", "lang ="], 1, "filter"),
        (["load", "things", "absent.npy"], 1, "no such file"),
        (["create", "pages"], 2, "--dimensions"),
        (["create", "pages", "-d", "0"], 1, "greater than or equal to 1"),
        (["create", "pages", "-d", "3", "--field", "lang"], 2, "name:Type"),
        (["load", "things", "x.npy", "--metric", "Hamming"], 2, "Hamming"),
        (["seach"], 2, "seach"),
        (["count", "things", "--server", "127.0.0.1:1", "--timeout", "0.3"], 1, "127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(loaded: Shell, arguments: list[str], code: int, message: str) -> None:
    text = loaded.run(*arguments, code=code)
    assert text.startswith("vectorfleet: ")
    assert message in text
    assert text.count("\n") == 1


def test_help_does_not_import_grpc_numpy_or_pyarrow() -> None:
    code = (
        "import sys; from vectorfleet.cli.app import app; "
        "sys.exit(any(name in sys.modules for name in ('grpc', 'numpy', 'pyarrow', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_serve_without_the_node_extra_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vectorfleet_node", None)
    assert "pip install 'vectorfleet[node]'" in shell.run("serve", code=1)


def test_a_scan_prints_a_row_per_line(loaded: Shell) -> None:
    lines = [json.loads(line) for line in loaded.run("scan", "things", "-f", "year >= 45", "--vectors").splitlines()]
    assert [row["fields"]["year"] for row in lines] == [45, 46, 47, 48, 49]
    np.testing.assert_allclose([row["vectors"]["default"] for row in lines], VECTORS[45:])
    keys = loaded.run("scan", "things", "-o", "keys", "--limit", "3", "--page-size", "2").split()
    assert len(keys) == len(set(keys)) == 3
    assert len(loaded.run("scan", "things").splitlines()) == 50


def test_rows_are_deleted_by_filter(loaded: Shell) -> None:
    assert loaded.run("delete", "things", "--filter", "year < 10") == "deleted 10 rows\n"
    assert loaded.json("delete", "things", "-f", "year == 10")["rows"] == 1
    assert loaded.json("count", "things") == {"count": 39}
    assert "one of the two" in loaded.run("delete", "things", code=2)
    assert "one of the two" in loaded.run("delete", "things", "7", "-f", "year == 10", code=2)


def test_a_search_has_a_threshold_and_groups(loaded: Shell) -> None:
    query = json.dumps(VECTORS[3].tolist())
    hits = loaded.json("search", "things", query, "--min-score", "0.9", "-k", "50")["results"][0]
    assert hits
    assert all(hit["score"] >= 0.9 for hit in hits)
    groups = loaded.json("search", "things", query, "--group-by", "lang", "--group-size", "2")["results"][0]
    assert sorted(group["group"] for group in groups) == ["de", "en"]
    assert all(len(group["hits"]) == 2 for group in groups)
    assert "en" in loaded.run("search", "things", query, "--group-by", "lang")
    assert "do not go together" in loaded.run("search", "things", "--like", "3", "--group-by", "lang", code=2)


def test_an_explanation_is_a_table_with_a_line_per_segment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    segments = (
        SegmentExplanation(1000, 990, 250, True, "HNSW", 10, 20, 300, "graph, ef 283"),
        SegmentExplanation(40, 40, 0, False, "Exact", 0, 5, 0),
    )
    print_explanation([ShardExplanation(3, "n1", 1234, 7, 2, segments, 9, 11)])
    lines = capsys.readouterr().out.splitlines()
    first, second = [line.split() for line in lines if "sealed" in line or "growing" in line]
    assert first == ["sealed", "1,000", "990", "250", "graph,", "ef", "283", "10", "20", "300"]
    assert second == ["growing", "40", "40", "0", "not", "searched", "0", "5", "0"]
    told = " ".join(" ".join(lines).split())
    assert "shard 3 on n1 at position 1234, queries in the call: 2" in told
    assert "waited 7 µs, ranked in 9 µs, rows read in 11 µs" in told


def test_the_status_of_a_collection_tells_which_indexes_there_are_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    def copy(leader: bool, *details: IndexInfo) -> ReplicaInfo:
        return ReplicaInfo("n", True, True, leader, 1, 9, 0, ("PQ",), "", index_details=details)

    codes = IndexInfo("default", "PQ", "its codes are small", 2, 7_000)
    graph = IndexInfo("default", "PQ", "HNSW comes next: many rows", 1, 90_000)
    shards = (ShardInfo(0, (copy(True, codes, graph), copy(False, codes))), ShardInfo(1, (copy(True, codes),)))
    print_shards(CollectionInfo("things", "u", "String", (), (), shards))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "default: PQ over 90,000 rows in 1 segment: HNSW comes next: many rows",
        "default: PQ over 14,000 rows in 4 segments: its codes are small",
    ]
