"""`vectorfleet log` and `fsck` as a user sees them: lines, exit codes, and one line where nothing can be looked at."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from collections_at_rest import flipped, make

from vectorfleet.cli import main
from vectorfleet_node.storage.local import LocalStore


class Shell:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: str, code: int = 0) -> str:
        """What it prints: standard output, with exit code 2 standard error."""
        self._monkeypatch.setattr(sys, "argv", ["vectorfleet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert ended.value.code == code, (out, err)
        return str(err if code == 2 else out)

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsys, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    asyncio.run(make(LocalStore.open(folder / "data"), folder / "cache"))
    return folder / "data"


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def slot(data: Path, position: int) -> Path:
    return data / f"shards/0/log/{position:020d}"


def rot(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes()))


def test_the_log_is_told_in_words(shell: Shell, data: Path) -> None:
    lines = shell.run("log", str(data)).splitlines()
    assert len(lines) == 8
    for line, words in zip(
        lines,
        [
            "the log begins; nobody leads yet",
            "maker:7301 (owner owner-maker) leads from here, writing format 2",
            "writes 40 rows in 1 request",
            "manifest 3 counts from here",
            "deletes 2 keys in 1 request",
            "writes 2 rows in 1 request",
            "manifest 6 counts from here",
            "writes 3 rows in 1 request",
        ],
        strict=True,
    ):
        assert line.rstrip().endswith(words)
    assert lines[2].split()[0] == "3"
    assert "epoch 2" in lines[2]
    assert " KiB " in lines[2]


def test_part_of_the_log_and_json(shell: Shell, data: Path) -> None:
    assert [line.split()[0] for line in shell.run("log", str(data), "--limit", "2").splitlines()] == ["7", "8"]
    found = shell.json("log", data.as_uri(), "--from", "3", "--limit", "2")
    assert [(line["position"], line["kind"]) for line in found] == [(3, "batch"), (4, "publish")]
    assert set(found[0]) == {"shard", "position", "until", "kind", "text", "time", "stamp", "epoch", "size"}
    assert shell.run("log", str(data), "--from", "100") == ""


def test_damage_and_collected_stretches_stand_in_their_places_in_the_log(shell: Shell, data: Path) -> None:
    rot(slot(data, 6))
    slot(data, 4).unlink()
    out = shell.run("log", str(data), code=1)
    assert "slot 4 is missing" in out
    assert "damaged" in out
    assert "its checksum is wrong" in out
    (data / "shards/0/boundary/1").mkdir(parents=True)
    (data / "shards/0/boundary/1/0").touch()
    assert "slot 4 was collected" in shell.run("log", str(data), code=1)


def test_a_sound_collection_is_clean(shell: Shell, data: Path) -> None:
    out = shell.run("fsck", str(data))
    assert "clean: every object that counts is there and right" in out
    told = shell.json("fsck", str(data))
    assert (told["clean"], told["findings"], told["repairs"]) == (True, [], [])
    assert told["shards"][0]["tail"] == 8


def test_damage_is_told_with_what_it_means_and_what_to_do_and_repaired(shell: Shell, data: Path) -> None:
    (manifest,) = data.glob("shards/0/manifests/*6")
    rot(manifest)
    out = shell.run("fsck", str(data), code=1)
    key = manifest.relative_to(data).as_posix()
    assert f"{key}: manifest 6 of shard 0 is damaged" in out
    assert "means: " in out
    assert "do:    run fsck --repair" in out
    assert "DAMAGED: 1 finding above" in out
    (finding,) = shell.json("fsck", str(data), code=1)["findings"]
    assert (finding["severity"], finding["kind"], finding["key"]) == ("damage", "manifest-damaged", key)
    out = shell.run("fsck", str(data), "--repair")
    assert "shard 0: repaired" in out
    assert f"{key} is in quarantine" in out
    assert (data / "quarantine" / key).exists()
    assert shell.json("fsck", str(data))["clean"]


def test_what_cannot_be_repaired_without_loss_is_left_alone_until_the_loss_is_accepted(
    shell: Shell, data: Path
) -> None:
    rot(slot(data, 8))
    before = sorted(data.rglob("*"))
    out = shell.run("fsck", str(data), "--repair", code=1)
    assert "shard 0: NOT REPAIRED" in out
    assert "would be lost: whatever record 8 wrote" in out
    assert sorted(data.rglob("*")) == before
    told = shell.json("fsck", str(data), "--repair", "--accept-loss")
    assert told["clean"]
    assert told["repairs"][0]["losses"][0].startswith("whatever record 8 wrote")
    shell.run("fsck", str(data), "--accept-loss", code=2)


@pytest.mark.parametrize("command", ["log", "fsck"])
def test_what_cannot_be_looked_at_is_one_line_and_exit_code_2(command: str, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wrong = {
        str(tmp_path / "nowhere"): "nowhere is not a folder",
        str(tmp_path / "empty"): "there is no collection at",
        "ftp://host/x": "it must be s3://bucket/prefix",
    }
    for url, said in wrong.items():
        err = shell.run(command, url, code=2)
        assert said in err
        assert len(err.splitlines()) == 1
    endpoint = ("--endpoint", "http://127.0.0.1:9", "--region", "us-east-1")
    assert "AWS_ACCESS_KEY_ID" in shell.run(command, "s3://bucket/x", *endpoint, code=2)


@pytest.mark.parametrize("command", ["log", "fsck"])
def test_a_store_that_is_away_is_one_line_and_exit_code_2(
    command: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    err = shell.run(command, "s3://bucket/x", "--endpoint", "http://127.0.0.1:9", code=2)
    assert len(err.splitlines()) == 1
    assert "s3://bucket/x" in err


def test_a_shard_that_is_not_there_is_named(shell: Shell, data: Path) -> None:
    assert "--shard is 7" in shell.run("log", str(data), "--shard", "7", code=2)
    assert "--shard is 7" in shell.run("fsck", str(data), "--shard", "7", code=2)


def test_without_the_node_extra_the_line_says_what_to_install(
    shell: Shell, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vectorfleet_node.storage.store", None)
    assert "pip install 'vectorfleet[node]'" in shell.run("fsck", str(data), code=2)
