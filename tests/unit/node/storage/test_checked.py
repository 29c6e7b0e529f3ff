"""Checked files: a flipped bit is told with file and offset, and reading one row verifies its own block only."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from vectorfleet_node.storage import checked
from vectorfleet_node.storage.checked import BLOCK_BYTES, CheckedFile, DamagedFile
from vectorfleet_node.storage.store import DataLoss

DATA = np.random.default_rng(7).integers(0, 256, 3 * BLOCK_BYTES + 1000, np.uint8).tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "1-ab-cd.vectors"
    path.write_bytes(DATA)
    checked.seal(path)
    return path


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def test_the_data_is_read_back_and_verifies(path: Path) -> None:
    file = CheckedFile.open(path)
    file.verify_all()
    assert file.checked
    assert file.data.tobytes() == DATA
    assert not file.data.flags.writeable


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_every_size_is_sealed_and_its_last_byte_is_covered(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA[:size])
    sealed = checked.seal(path)
    assert sealed == (path.stat().st_size, google_crc32c.value(path.read_bytes()))
    file = CheckedFile.open(path)
    file.verify_all()
    assert file.data.tobytes() == DATA[:size]
    if size:
        flip(path, size - 1)
        with pytest.raises(DamagedFile):
            CheckedFile.open(path).verify(size - 1, size)


def test_a_flipped_bit_anywhere_is_told_with_file_and_offset(path: Path) -> None:
    size = path.stat().st_size
    edges = [0, BLOCK_BYTES - 1, BLOCK_BYTES, len(DATA) - 1]
    behind_magic = size - 24 + 8
    offsets = [*edges, *range(len(DATA), size - 24), *range(behind_magic, size)]
    offsets += random.Random(1).sample(range(len(DATA)), 50)
    for offset in offsets:
        bit = random.Random(offset).randrange(8)
        flip(path, offset, bit)
        with pytest.raises(DamagedFile, match=r"1-ab-cd\.vectors is damaged at offset \d+") as caught:
            CheckedFile.open(path).verify_all()
        if offset < len(DATA):
            assert caught.value.offset == offset // BLOCK_BYTES * BLOCK_BYTES
        flip(path, offset, bit)
    CheckedFile.open(path).verify_all()


def test_reading_a_row_verifies_its_own_block_only(path: Path) -> None:
    flip(path, BLOCK_BYTES + 5)
    file = CheckedFile.open(path)
    file.verify(0, BLOCK_BYTES)
    file.verify(2 * BLOCK_BYTES, len(DATA))
    with pytest.raises(DamagedFile, match=f"offset {BLOCK_BYTES}"):
        file.verify(BLOCK_BYTES - 1, BLOCK_BYTES + 1)


def test_spans_verify_exactly_the_blocks_they_touch(path: Path) -> None:
    flip(path, 2 * BLOCK_BYTES)
    file = CheckedFile.open(path)
    file.verify_spans(np.array([0, 10, 3 * BLOCK_BYTES]), np.array([2 * BLOCK_BYTES, 10, 3 * BLOCK_BYTES + 9]))
    file.verify_spans(np.array([], np.int64), np.array([], np.int64))
    for start, stop in ((0, 2 * BLOCK_BYTES + 1), (2 * BLOCK_BYTES + 7, 3 * BLOCK_BYTES), (1, len(DATA))):
        with pytest.raises(DamagedFile):
            file.verify_spans(np.array([5, start]), np.array([6, stop]))


def test_a_cut_or_extended_file_is_refused_or_taken_for_one_without_checksums(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not CheckedFile.open(path).checked
    path.write_bytes(whole[1:])
    with pytest.raises(DamagedFile, match="trailer"):
        CheckedFile.open(path)


def test_a_hostile_trailer_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for block, size in ((0, 0), (1, 2**63), (2**32 - 1, 2**64 - 1)):
        path.write_bytes(b"VFBLOCKS" + block.to_bytes(4, "little") + size.to_bytes(8, "little") + bytes(4))
        with pytest.raises(DamagedFile):
            CheckedFile.open(path)


def test_a_file_of_format_1_opens_without_checksums(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    file = CheckedFile.open(tmp_path / "f")
    file.verify_all()
    assert not file.checked
    assert file.data.tobytes() == DATA
    (tmp_path / "empty").write_bytes(b"")
    assert len(CheckedFile.open(tmp_path / "empty").data) == 0


def test_a_file_that_is_not_there_is_data_loss_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataLoss, match="absent cannot be read"):
        CheckedFile.open(tmp_path / "absent")


def test_views_outlive_the_file_and_its_name(path: Path) -> None:
    view = np.frombuffer(CheckedFile.open(path).data[:8], "<u4")
    path.unlink()
    gc.collect()
    assert view.tobytes() == DATA[:8]
