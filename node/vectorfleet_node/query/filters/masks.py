"""Which rows of a block pass a filter, kept for blocks that do not change. Used by `query.rows`.

A kept mask is of the block's rows, live or not; who lives is and-ed afterwards, by the caller. Columns and indexes are
verified when a mask is worked out, not when it is taken from here: it was made of bytes that were whole, so that a file
which rots later does not make it wrong, and whatever is returned is verified by itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vectorfleet_node.query.filters import Filter
from vectorfleet_node.query.filters.documents import KEPT_BYTES, PARSED, Source
from vectorfleet_node.query.filters.kept import Kept
from vectorfleet_node.shard.view import RowBlock

MASKS: Final[Kept[NDArray[np.uint8]]] = Kept(KEPT_BYTES)
_OF_MEMORY: Final = 16  # the part of a process's memory for what filters keep, and the most that they get
_MOST: Final = 1 << 30


def keep_at_most(size: int | None, memory: int | None) -> None:
    """Bounds what this process's filters keep, masks and values from documents together, to `size` bytes.

    size: None for what suits a process with so much memory, in bytes; memory: None where it has no limit.
    """
    usual = 2 * KEPT_BYTES if memory is None else min(memory // _OF_MEMORY, _MOST)
    for kept in (MASKS, PARSED):
        kept.resize((size or usual) // 2)


def mask_of(block: RowBlock, filter_: Filter, masks: Kept[NDArray[np.uint8]] = MASKS) -> NDArray[np.bool_]:
    """(rows,) bool: the rows for which the filter is true. port.Rotten when it would be decided by damaged columns."""
    identity = block.identity
    packed = masks.get(identity, filter_) if identity is not None else None
    if packed is not None:
        return np.unpackbits(packed, count=len(block.live)).view(np.bool_)
    with block.telling():
        mask = filter_.mask(Source(block.rows, identity, block.fields, block.verify_columns))
    if identity is not None:
        packed = np.packbits(mask)
        masks.put(identity, filter_, packed, packed.nbytes)
    return mask
