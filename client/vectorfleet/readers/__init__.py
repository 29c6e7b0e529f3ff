"""Reads rows for loading: numpy arrays, .npy, .npz, .parquet, .fvecs, .fbin and JSON lines, a batch at a time.

Used by `load` and `import_rows` of the clients and of the command line. Arrays are memory-mapped, Parquet and JSON
streamed, also from S3; .npz is read whole.
"""

from __future__ import annotations

import json
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
_STREAMED = ("parquet", "lines")


def open_source(
    path: str | Path,
    *,
    format: str = "",
    key: str = "",
    vector: str = "",
    fields: Sequence[str] | None = None,
) -> Source:
    """The rows of a file, or of an object `s3://bucket/key`; SourceError where it cannot be read as such.

    Of objects only Parquet and JSON lines are read.
    `format` is one of FORMATS and defaults to the suffix. In files with named columns, `key` defaults to the column
    `key` or `id`, else to row numbers; `vector` to `vector` or `embedding`, else the only column that holds lists of
    numbers; `fields` to all other columns. .fvecs, .fbin and .npy have row numbers as keys and no fields.
    """
    file = _file(path)
    kind = format or file.suffix.lstrip(".").lower()
    if kind not in _OPENERS:
        raise SourceError(
            f"{file}: cannot tell its format by {file.suffix or 'no suffix'!r}; one of {', '.join(FORMATS)}"
        )
    module, name = _OPENERS[kind]
    if isinstance(file, Path):
        if not file.is_file():
            raise SourceError(f"{file}: no such file")
        stat = file.stat()
        identity = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    elif module not in _STREAMED:
        raise SourceError(f"{file}: a .{kind} is only read from a local file; copy it here first")
    else:
        identity = file.identity
    opener: Callable[[Any, Choice], Source] = getattr(import_module(f"vectorfleet.readers.{module}"), name)
    chosen = None if fields is None else tuple(fields)
    source = opener(file, Choice(key, vector, chosen))
    source.identity = json.dumps([identity, kind, key, vector, chosen])
    return source


def _file(path: str | Path) -> Any:
    """The path, or the object that a URL names."""
    if "://" not in str(path):
        return Path(path)
    from vectorfleet.readers.objects import SCHEME, ObjectFile

    if not str(path).startswith(SCHEME):
        raise SourceError(f"{path}: not a URL that can be read; expected a path or {SCHEME}bucket/key")
    return ObjectFile(str(path))


def from_arrays(vectors: Any, keys: Any = None, fields: Mapping[str, Sequence[Any]] | None = None) -> Source:
    """Rows of arrays in memory (or memory-mapped): `vectors` of shape (rows, dimensions), or a mapping of name to that.

    `keys` default to row numbers; `fields` maps name to `rows` values.
    """
    from vectorfleet.readers.arrays import ArraySource

    named = vectors if isinstance(vectors, Mapping) else {"default": vectors}
    return ArraySource("arrays", named, keys, dict(fields or {}))
