"""What a reader sees of a shard: one immutable value per log position. Made by `shard`, read by `query`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vectorfleet.partition import Key as Key
from vectorfleet_node.engine.port import Index
from vectorfleet_node.storage.fieldindex import FieldIndex


class RowCheck(Protocol):
    """Knows where rows are on the disk (`checks.SegmentFiles`)."""

    def verify(self, rows: NDArray[np.int64], fields: Iterable[str], vectors: Iterable[str]) -> None:
        """See `RowBlock.verify`."""

    def verify_columns(self, fields: Iterable[str]) -> None:
        """See `RowBlock.verify_columns`."""

    def telling(self) -> AbstractContextManager[None]:
        """See `RowBlock.telling`."""


class Lineage:
    """Stands for rows to which others are only ever added, at the end."""


@dataclass(frozen=True, eq=False)
class RowsIdentity:
    """Stands for rows that never change, whichever of them live; what is known of them goes when it does.

    lineage: whose rows from number `first` on these are; None when no others will be added to them.
    """

    lineage: Lineage | None = None
    first: int = 0


@dataclass(frozen=True)
class RowBlock:
    """Rows that are searched together: a sealed segment, or the growing rows.

    rows: column `key` (string or int64), then one nullable column for each payload field, named as in the schema and
        in its order (no field may be called `key`).
    vectors: per name a (rows, dimensions) float32 array, perhaps a memory map; raw, as the user gave it.
    indexes: per vector name an index over exactly these rows (the growing rows carry an Exact one).
    live: (rows,) bool, False where a newer version or a deletion superseded the row.
    sealed: False for the growing rows.
    check: None when the rows are in memory only.
    identity: the same for all blocks of exactly these rows; None when nobody may remember anything about them.
    fields: the indexes of payload fields, over exactly these rows, live or not; of no field that has none.
    """

    rows: pa.Table
    vectors: Mapping[str, NDArray[np.float32]]
    indexes: Mapping[str, Index]
    live: NDArray[np.bool_]
    sealed: bool
    check: RowCheck | None = None
    identity: RowsIdentity | None = None
    fields: Mapping[str, FieldIndex] = field(default_factory=dict)

    def verify(self, rows: NDArray[np.int64], fields: Iterable[str], vectors: Iterable[str]) -> None:
        """Checks what is on the disk of these rows' fields and vectors, block by block, before it is given to anybody.

        port.Rotten, which names the file, when a block is not what was written.
        """
        if self.check is not None:
            self.check.verify(rows, fields, vectors)

    def verify_columns(self, fields: Iterable[str]) -> None:
        """Checks what is on the disk of those fields of all rows, before a filter decides by them. As `verify`."""
        if self.check is not None:
            self.check.verify_columns(fields)

    def telling(self) -> AbstractContextManager[None]:
        """To be entered around what asks `fields`: they raise DamagedFile, which it tells and raises as port.Rotten."""
        return nullcontext() if self.check is None else self.check.telling()

    @cached_property
    def live_rows(self) -> int:
        """How many rows a reader may see."""
        return int(np.count_nonzero(self.live))


class ShardView(Protocol):
    """A shard at one log position. Holding it keeps its blocks valid, whatever is written meanwhile."""

    @property
    def position(self) -> int:
        """The log position this view is the state of."""

    @property
    def blocks(self) -> tuple[RowBlock, ...]:
        """All blocks, sealed ones first."""

    def locate(self, keys: list[Key]) -> list[tuple[int, int] | None]:
        """For each key (block number, row number) of its live version, or None."""
