"""Reads rows for loading: numpy arrays, .npy, .npz, .parquet, .fvecs, .fbin and JSON lines, a batch at a time.

Used by `Client.load` and `vectorfleet load`. Arrays are memory-mapped, Parquet and JSON streamed; .npz is read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vectorfleet.errors import SourceError
from vectorfleet.readers.base import Batch, Choice, Source, SourceSchema

__all__ = ["FORMATS", "Batch", "Source", "SourceSchema", "from_arrays", "open_source"]

_OPENERS = {
    "npy": ("arrays", "open_npy"),
    "npz": ("arrays", "open_npz"),
    "fvecs": ("vecs", "open_fvecs"),
    "fbin": ("vecs", "open_fbin"),
    "parquet": ("parquet", "open_parquet"),
    "jsonl": ("lines", "open_lines"),
    "ndjson": ("lines", "open_lines"),
}
FORMATS = tuple(_OPENERS)


def open_source(
    path: str | Path,
    *,
    format: str = "",
    key: str = "",
    vector: str = "",
    fields: Sequence[str] | None = None,
) -> Source:
    """The rows of a file; SourceError where it cannot be read as such.

    `format` is one of FORMATS and defaults to the suffix. In files with named columns, `key` defaults to the column
    `key` or `id`, else to row numbers; `vector` to `vector` or `embedding`, else the only column that holds lists of
    numbers; `fields` to all other columns. .fvecs, .fbin and .npy have row numbers as keys and no fields.
    """
    file = Path(path)
    kind = format or file.suffix.lstrip(".").lower()
    if kind not in _OPENERS:
        raise SourceError(
            f"{file}: cannot tell its format by {file.suffix or 'no suffix'!r}; one of {', '.join(FORMATS)}"
        )
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    module, name = _OPENERS[kind]
    opener: Callable[[Path, Choice], Source] = getattr(import_module(f"vectorfleet.readers.{module}"), name)
    return opener(file, Choice(key, vector, None if fields is None else tuple(fields)))


def from_arrays(vectors: Any, keys: Any = None, fields: Mapping[str, Sequence[Any]] | None = None) -> Source:
    """Rows of arrays in memory (or memory-mapped): `vectors` of shape (rows, dimensions), or a mapping of name to that.

    `keys` default to row numbers; `fields` maps name to `rows` values.
    """
    from vectorfleet.readers.arrays import ArraySource

    named = vectors if isinstance(vectors, Mapping) else {"default": vectors}
    return ArraySource("arrays", named, keys, dict(fields or {}))
