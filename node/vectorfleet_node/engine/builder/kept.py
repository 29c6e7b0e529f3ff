"""The folder that builds leave things in for later builds: `<cache>/.builds`, bounded, swept, safe to delete.

    <key>.checkpoint            a graph that is half done (`checkpoint`)
    <key>-<size>-<crc>.index    a finished artefact, a hard link to the segment's own file where that still exists
    <process id>.tmp            what a child is writing

`key` is a hash of everything that an index is made of, so whatever is found under it fits. The trap is the hard link:
a segment's file gets a trailer of checksums when it is sealed, and the link with it; only the first `size` bytes are
the index, and they are checked when they are used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Final

import faiss
import google_crc32c

from vectorfleet_node.engine import hnsw
from vectorfleet_node.engine.builder.messages import BuildRequest
from vectorfleet_node.engine.encoding import codes_of
from vectorfleet_node.engine.port import Floats
from vectorfleet_node.engine.scoring import rows_per_chunk

FOLDER: Final = ".builds"
CHECKPOINTS: Final = 2  # kept at most, and no longer than
CHECKPOINT_SECONDS: Final = 7 * 86_400.0
ARTEFACTS: Final = 2
ARTEFACT_SECONDS: Final = 86_400.0
CHECKPOINT: Final = ".checkpoint"
TEMPORARY: Final = ".tmp"
_ARTEFACT: Final = re.compile(r"(?P<key>[0-9a-f]{32})-(?P<size>\d+)-(?P<crc>[0-9a-f]{8})\.index")
_PIECE: Final = 1 << 20
_ROOM: Final = 4  # times an artefact's size: so much must be free for it to be kept


def key_of(request: BuildRequest, vectors: Floats) -> str:
    """32 hex digits that stand for the index's content: the same for no two indexes that may differ."""
    made_of = {
        "kind": request.kind,
        "metric": request.metric,
        "shape": (request.rows, request.dimensions),
        "parameters": (hnsw.PARAMETERS, codes_of(request.dimensions)),
        "by": (faiss.__version__, version("vectorfleet")),
    }
    found = blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=16)
    step = rows_per_chunk(request.dimensions, 4)
    for start in range(0, request.rows, step):
        found.update(vectors[start : start + step].data)
    return found.hexdigest()


def temporary(folder: Path) -> Path:
    """Where this process writes what is not complete yet."""
    return folder / f"{os.getpid()}{TEMPORARY}"


def keep(folder: Path, key: str, artefact: Path) -> None:
    """Keeps a finished artefact, which nothing may have been appended to yet, where the disk has room to spare.

    The link takes none, but it may outlive the segment's own file.
    """
    size, crc = artefact.stat().st_size, 0
    if shutil.disk_usage(folder).free < _ROOM * size:
        return
    for piece in _pieces(artefact, size):
        crc = google_crc32c.extend(crc, piece)
    try:
        os.link(artefact, folder / f"{key}-{size}-{crc:08x}.index")
    except OSError:
        return  # another file system, or it is kept already


def reuse(folder: Path, key: str, artefact: Path) -> bool:
    """Copies a kept artefact with that key to `artefact`. False when there is no good one."""
    for path in folder.glob(f"{key}-*.index"):
        name = _ARTEFACT.fullmatch(path.name)
        if name is None:
            continue
        size, crc = int(name["size"]), 0
        with artefact.open("wb") as copy:
            for piece in _pieces(path, size):
                crc = google_crc32c.extend(crc, piece)
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
        if (artefact.stat().st_size, crc) == (size, int(name["crc"], 16)):
            os.utime(path)
            return True
        path.unlink(missing_ok=True)
    return False


def tidy(folder: Path, *, starting: bool = False) -> None:
    """Deletes what is too old or too much; at a node's start also what children that died were writing."""
    if not folder.is_dir():
        return
    for path in folder.glob(f"*{TEMPORARY}") if starting else ():
        path.unlink(missing_ok=True)
    for pattern, most, seconds in (
        (f"*{CHECKPOINT}", CHECKPOINTS, CHECKPOINT_SECONDS),
        ("*.index", ARTEFACTS, ARTEFACT_SECONDS),
    ):
        newest_first = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
        for number, path in enumerate(newest_first):
            if number >= most or path.stat().st_mtime < time.time() - seconds:
                path.unlink(missing_ok=True)


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, _PIECE))):
            size -= len(piece)
            yield piece
