"""The header of an index artefact: what it is an index of, so that a wrong or cut file is refused, not searched.

Written and read by the engines beside this module. Bit flips are not found here: whoever fetches an artefact checks
its checksum.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vectorfleet.schema import IndexKind, Metric

MAGIC: Final = b"VFINDEX\x00"
FORMAT: Final = 1
HEADER_BYTES: Final = 64  # the body starts on a cache line
_LAYOUT: Final = struct.Struct("<8sHBBIQQd")  # magic, format, kind, metric, dimensions, rows, body bytes, scale
_KINDS: Final = {IndexKind.EXACT: 1, IndexKind.HNSW: 2, IndexKind.HNSW_INT8: 3, IndexKind.PQ: 4}
_METRICS: Final = {Metric.COSINE: 1, Metric.L2: 2, Metric.DOT: 3}


@dataclass(frozen=True)
class Header:
    """First HEADER_BYTES of an artefact. `scale` is what the vectors were multiplied by before they were indexed."""

    kind: IndexKind
    metric: Metric
    dimensions: int
    rows: int
    body_bytes: int = 0
    scale: float = 1.0

    def pack(self) -> bytes:
        """The header as bytes."""
        kind, metric = _KINDS[self.kind], _METRICS[self.metric]
        fields = (MAGIC, FORMAT, kind, metric, self.dimensions, self.rows, self.body_bytes, self.scale)
        return _LAYOUT.pack(*fields).ljust(HEADER_BYTES, b"\x00")


def read_header(path: Path, size: int | None = None) -> Header:
    """The header of the artefact at `path`. ValueError when it is not an artefact of ours or was cut or extended.

    size: bytes of the artefact, None for the whole file; what is behind them is not the engine's.
    """
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES)
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise ValueError(f"{path.name} is not an index artefact")
    _, form, kind, metric, dimensions, rows, body_bytes, scale = _LAYOUT.unpack_from(data)
    if form != FORMAT:
        raise ValueError(f"{path.name} has index format {form}; this version reads format {FORMAT}")
    kinds = {number: name for name, number in _KINDS.items()}
    metrics = {number: name for name, number in _METRICS.items()}
    if kind not in kinds or metric not in metrics:
        known = ", ".join(kinds.values())
        raise ValueError(
            f"{path.name} has index kind {kind} and metric {metric}: another version wrote it; this one reads {known}"
        )
    size = path.stat().st_size if size is None else size
    if size != HEADER_BYTES + body_bytes:
        raise ValueError(f"{path.name} has {size} bytes where its header says {HEADER_BYTES + body_bytes}")
    return Header(kinds[kind], metrics[metric], dimensions, rows, body_bytes, scale)


def check_header(
    path: Path, kind: IndexKind, metric: Metric, shape: tuple[int, ...], size: int | None = None
) -> Header:
    """The header of a `kind` index by `metric` over vectors of `shape`. ValueError says what is there instead."""
    header = read_header(path, size)
    rows, dimensions = shape
    if (header.kind, header.metric, header.rows, header.dimensions) != (kind, metric, rows, dimensions):
        raise ValueError(
            f"{path.name} is {header.kind} by {header.metric} over {header.rows} x {header.dimensions}, "
            f"not {kind} by {metric} over {rows} x {dimensions}"
        )
    return header
