"""An image's reference changes exactly when what is in it changes, and a Dockerfile works with Docker, too."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from string import Template

import pytest
import yaml

from devcluster import addons, images, layout, pip_settings
from devcluster.errors import DevclusterError
from devcluster.layout import Folders
from devcluster.processes import Supervisor
from devcluster.s3 import S3
from devcluster.stock import DATABASES, LINKED, Stock

DOCKERFILES = {part: (layout.REPOSITORY / part / "Dockerfile").read_text() for part in images.PARTS}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository."""
    for name in images.CONTEXT:
        if (layout.REPOSITORY / name).is_dir():
            (tmp_path / name).mkdir()
            (tmp_path / name / "code.py").write_text(name)
        else:
            (tmp_path / name).write_text(name)
    return tmp_path


def test_an_unchanged_tree_has_the_same_reference(tree: Path) -> None:
    before = images.context_digest(tree, "node", "base")
    (tree / "docs").mkdir()
    (tree / "docs" / "new.md").write_text("not in an image")
    (tree / "node" / "__pycache__").mkdir()
    (tree / "node" / "__pycache__" / "code.pyc").write_text("")
    assert images.context_digest(tree, "node", "base") == before


@pytest.mark.parametrize("path", ["client/code.py", "node/code.py", "pyproject.toml", "requirements.lock"])
def test_a_changed_file_changes_the_reference(tree: Path, path: str) -> None:
    before = images.context_digest(tree, "node", "base")
    (tree / path).write_text("changed")
    assert images.context_digest(tree, "node", "base") != before


def test_a_moved_file_another_base_and_another_part_change_the_reference(tree: Path) -> None:
    seen = {images.context_digest(tree, "node", "base")}
    seen.add(images.context_digest(tree, "node", "other base"))
    seen.add(images.context_digest(tree, "operator", "base"))
    (tree / "node" / "code.py").rename(tree / "node" / "moved.py")
    seen.add(images.context_digest(tree, "node", "base"))
    assert len(seen) == 4


def test_the_hash_covers_exactly_what_the_build_sees() -> None:
    let_through = re.findall(r"^!(\S+)$", (layout.REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    assert {*let_through, ".dockerignore"} == set(images.CONTEXT)


@pytest.mark.parametrize("part", images.PARTS)
def test_an_image_runs_as_nobody_and_from_hashed_dependencies(part: str) -> None:
    dockerfile = DOCKERFILES[part]
    assert dockerfile.split("\n")[1] == "ARG BASE=python:3.11-slim-bookworm"
    assert "--require-hashes -r /tmp/requirements.lock" in dockerfile
    assert "\nUSER 65532:65532\n" in dockerfile
    assert f'ENTRYPOINT ["vectorfleet-{part}"]' in dockerfile
    lock = (layout.REPOSITORY / part / "requirements.lock").read_text()
    pinned = re.findall(r"^\S+==\S+ \\\n    --hash=sha256:", lock, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z]", lock, re.MULTILINE))


@pytest.mark.parametrize("part", images.PARTS)
def test_a_part_has_the_versions_that_were_tested(part: str) -> None:
    def versions(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^(\S+)==(\S+)", path.read_text(), re.MULTILINE))

    tested = versions(layout.REPOSITORY / "requirements.lock")
    assert versions(layout.REPOSITORY / part / "requirements.lock").items() <= tested.items()


def test_the_machines_pip_settings_reach_a_build_and_those_about_places_do_not() -> None:
    listing = (
        ":env:.default-timeout='180'\n:env:.index-url='https://mirror.example/simple'\n"
        "global.index-url='https://other.example/simple'\ninstall.find-links='/wheels\\n/more wheels'\n"
        "global.target='/somewhere'\nglobal.cert='/etc/ssl/certs/ca.crt'\n"
    )
    settings = pip_settings.parse(listing)
    assert settings == {
        "timeout": "180",
        "index-url": "https://mirror.example/simple",
        "find-links": "/wheels\n/more wheels",
        "cert": "/etc/ssl/certs/ca.crt",
    }
    read = configparser.RawConfigParser()
    read.read_string(pip_settings.as_file(settings))
    assert dict(read["global"]) == settings


def test_folders_that_pip_settings_name_are_shown_to_the_build(tmp_path: Path) -> None:
    settings = {"find-links": f"{tmp_path}\n/not/there", "index-url": "https://mirror.example/simple"}
    assert pip_settings.paths(settings) == [tmp_path]


def test_a_node_starts_with_the_stock_without_a_copy_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "cache_folder", lambda: tmp_path / "cache")
    root = tmp_path / "cache" / "stock"
    for name in DATABASES:
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("database")
    for name in LINKED:
        (root / name / "1").mkdir(parents=True)
    folders = Folders(tmp_path / "state")
    Stock(Supervisor(folders), folders).clone(tmp_path / "node")
    assert all((tmp_path / "node" / name / "1").resolve() == root / name / "1" for name in LINKED)
    databases = [tmp_path / "node" / name for name in DATABASES]
    assert all(path.read_text() == "database" and not path.is_symlink() for path in databases)


def test_every_blank_of_the_manifests_is_filled_in() -> None:
    for path in addons.MANIFESTS.glob("*.yaml"):
        filled = Template(path.read_text()).substitute(coredns="c", base="b", dns="10.0.0.1", paths=json.dumps({}))
        documents = list(yaml.safe_load_all(filled))
        assert all(document["kind"] for document in documents)


@pytest.mark.parametrize("name", ["ab", "Upper", "a_b", "../../etc", "-a-"])
def test_a_bucket_name_that_s3_refuses_is_refused(tmp_path: Path, name: str) -> None:
    folders = Folders(tmp_path)
    with pytest.raises(DevclusterError, match="3 to 63"):
        S3(Supervisor(folders), folders).make_bucket(name)
